"""Chat templates come with a model: none takes the process with it, whatever it says."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from simmim.data.tokenizer import train_tokenizer
from simmim.errors import DataError
from simmim.tasks import templates
from simmim.tasks.templates import apply_template

MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
memory = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits a process's memory")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["a text"], 260)


def render(tokenizer: PreTrainedTokenizerFast, template: Any, **options: Any) -> Any:
    tokenizer.chat_template = template
    return apply_template(tokenizer, MESSAGES, tokenize=False, **options)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        pytest.param("{{ 'a' * 10000000000 }}", "less than 1,024 MiB", marks=memory),
        pytest.param("{{ [0] * 10000000000 }}", "less than 1,024 MiB", marks=memory),
        pytest.param("{{ 'a'|center(9999999999) }}", "less than 1,024 MiB", marks=memory),
        pytest.param("{{ '%9999999999d' % 1 }}", "less than 1,024 MiB", marks=memory),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "without end in itself"),
        ("{{ 10 ** 10 ** 10 }}", "without powers"),
        ("{% generation %}{{ 2 ** 2 }}{% endgeneration %}", "without powers"),
        ("{% for", "unexpected 'end of template'"),
        ("{% no such %}", "unknown tag"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ nothing.nothing }}", "'nothing' is undefined"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ raise_exception('not so') }}", "not so"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{{ cycler.__init__.__globals__ }}", "unsafe"),
        ("{{ range(10**9) }}", "without powers"),
        ("{{ range(1000000000)|list }}", "OverflowError"),
        ("\ud83d", "valid Unicode text"),
        (5, "expected a text, got int"),
    ],
)
def test_kind_1_a_template_that_fails_is_one_error(
    tokenizer: PreTrainedTokenizerFast, template: Any, complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        render(tokenizer, template)


def test_kind_1_a_template_without_end_ends_in_any_thread(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "_SECONDS", 0.05)
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(DataError, match=r"expected one that writes a conversation in"),
    ):
        threads.submit(render, tokenizer, LOOP).result()


def test_stars_in_the_words_of_a_template_are_no_powers(tokenizer: PreTrainedTokenizerFast) -> None:
    template = "**Answer.** {% generation %}{{ messages[0].content }}{% endgeneration %}"
    assert render(tokenizer, template) == "**Answer.** hi"


def test_a_tracer_that_was_there_comes_back(tokenizer: PreTrainedTokenizerFast) -> None:
    before = sys.gettrace()
    render(tokenizer, "{{ messages[1].content }}")
    assert sys.gettrace() is before
