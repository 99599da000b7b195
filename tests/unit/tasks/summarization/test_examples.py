"""Token ids are cut only as far as is said."""

import logging

import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from simmim.data.tokenizer import train_tokenizer
from simmim.errors import ConfigError
from simmim.tasks.summarization.examples import tokenize_examples


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer([], 260)  # a byte is a token


@pytest.fixture
def dataset() -> Dataset:
    rows = {"document": ["abcdefgh", "abc", "ä"], "summary": ["xyz", "x", "xyzw"], "name": ["1", "2", "3"]}
    return Dataset.from_dict(rows)


def test_tokenizes_whole_texts(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    tokenized = tokenize_examples(dataset, tokenizer)

    assert sorted(tokenized.column_names) == ["input_ids", "labels", "length"]
    for row, source in zip(tokenized, dataset, strict=True):
        assert tokenizer.decode(row["input_ids"]) == source["document"] + "</s>"
        assert tokenizer.decode(row["labels"]) == source["summary"] + "</s>"
        assert row["length"] == len(row["input_ids"])
    assert not caplog.records


def test_cuts_to_the_limit_keeps_the_closing_token_and_says_so_once(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    tokenized = tokenize_examples(dataset, tokenizer, max_source_tokens=4, max_target_tokens=4)

    assert [tokenizer.decode(ids) for ids in tokenized["input_ids"]] == ["abc</s>", "abc</s>", "ä</s>"]
    assert [tokenizer.decode(ids) for ids in tokenized["labels"]] == ["xyz</s>", "x</s>", "xyz</s>"]
    assert tokenized["length"][:] == [4, 4, 3]
    assert [record.message for record in caplog.records] == [
        "max_source_tokens=4 cuts 1 of 3 texts",
        "max_target_tokens=4 cuts 1 of 3 texts",
    ]
    assert all(record.levelno == logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("limit", ["max_source_tokens", "max_target_tokens"])
def test_a_limit_leaves_some_text(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, limit: str) -> None:
    with pytest.raises(ConfigError, match=f"{limit}: expected None or at least 2 .*, got 1"):
        tokenize_examples(dataset, tokenizer, **{limit: 1})
