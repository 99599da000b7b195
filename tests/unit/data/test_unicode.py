"""No string that is not Unicode text meets a tokenizer, whichever way it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from simmim import pipeline
from simmim.data.columns import Column
from simmim.data.tokenizer import train_tokenizer
from simmim.data.unicode import check_text, unicode_fault
from simmim.errors import DataError
from simmim.tasks.checkpoints import load_model
from simmim.tasks.dialogue.chat import Chat
from simmim.tasks.language_modelling.bits_per_byte import score_texts
from simmim.tasks.language_modelling.continuation import continuations
from simmim.tasks.summarization.generation import summaries

lone_surrogate = st.integers(0xD800, 0xDFFF).map(chr)
any_string = st.lists(st.text(max_size=3) | lone_surrogate, max_size=4).map("".join)


@given(any_string)
def test_kind_6_a_string_is_refused_exactly_where_utf_8_has_no_bytes_for_it(text: str) -> None:
    surrogate = re.search("[\ud800-\udfff]", text)
    if surrogate is None:
        check_text("text", text)
        return
    assert f"at offset {surrogate.start()}" in unicode_fault(text)
    with pytest.raises(DataError, match="^text: expected valid Unicode text, got"):
        check_text("text", text)
    assert Column("a").fault({"a": f"x{text}".replace("\0", "")})[0] == "not UTF-8"


@pytest.fixture(scope="module")
def ways(tiny_chat_model: Path, tiny_run: Path) -> dict[str, Callable[[str], Any]]:
    """Return the ways that a text takes to a tokenizer."""
    model, tokenizer = load_model(tiny_chat_model, "cpu", auto_class=AutoModelForCausalLM)
    summarize = pipeline("summarization", tiny_run / "model", device="cpu")
    summariser: Any = (summarize.model, summarize.tokenizer)
    limit: dict[str, Any] = {"max_new_tokens": 1, "do_sample": False}
    return {
        "turn": lambda text: Chat(model, tokenizer).reply(text, **limit),
        "history": lambda text: Chat(model, tokenizer).resume([{"role": "user", "content": text}]),
        "prompt": lambda text: list(continuations(model, tokenizer, text, **limit)),
        "document": lambda text: summarize(text, max_new_tokens=1),
        "documents": lambda text: list(summaries(*summariser, [text], num_beams=1, max_new_tokens=1)),
        "evaluation": lambda text: list(score_texts(model, tokenizer, [text])),
        "vocabulary": lambda text: train_tokenizer([text], 260),
    }


@settings(max_examples=12)
@given(text=any_string.map("a{}b".format))
@pytest.mark.parametrize("way", ["turn", "history", "prompt", "document", "documents", "evaluation", "vocabulary"])
def test_kind_6_every_way_to_a_tokenizer_takes_unicode_and_nothing_else(
    ways: dict[str, Callable[[str], Any]], way: str, text: str
) -> None:
    if unicode_fault(text):
        with pytest.raises(DataError, match="expected valid Unicode text, got"):
            ways[way](text)
    else:
        ways[way](text)
