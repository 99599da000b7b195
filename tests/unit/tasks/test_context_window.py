"""Texts that do not fit a model's window are refused before the model computes noise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reading_folders import make_tokenizer, tiny_llama
from simmim.errors import DataError
from simmim.tasks.context_window import check_window, context_window
from simmim.tasks.language_modelling.continuation import continuations


def test_the_smaller_limit_of_model_and_tokenizer_counts() -> None:
    tokenizer = make_tokenizer(template=False)
    model = tiny_llama(len(tokenizer), window=512)
    assert context_window(model, tokenizer) == 512
    tokenizer.model_max_length = 100
    assert context_window(model, tokenizer) == 100
    check_window(model, tokenizer, 100, "shorten it")
    with pytest.raises(DataError, match="at most 100 tokens .* got 101; shorten it"):
        check_window(model, tokenizer, 101, "shorten it")


def test_a_model_without_a_limit_reads_anything() -> None:
    tokenizer = make_tokenizer(template=False)
    model: Any = SimpleNamespace(config=SimpleNamespace())
    check_window(model, tokenizer, 10**9, "shorten it")


def test_a_prompt_that_leaves_no_space_for_its_continuation_is_refused() -> None:
    tokenizer = make_tokenizer(template=False)
    model = tiny_llama(len(tokenizer), window=64)
    with pytest.raises(DataError, match=r"at most 64 tokens .*got \d+; .*simmim ask"):
        next(continuations(model, tokenizer, "The jars are kept here. " * 2, max_new_tokens=64))
