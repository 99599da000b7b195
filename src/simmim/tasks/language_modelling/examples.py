"""Model language: turn texts into token ids that begin and end a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from simmim.data.control_tokens import encode_plain_text
from simmim.errors import ConfigError, DataError

__all__ = ["encode_text", "text_column", "tokenize_texts"]


def text_column(names: Sequence[str], source: str) -> str:
    """Return the column to learn language from: `text`, or the `document` of examples that have a summary.

    Raises:
        DataError: There is neither.
    """
    found = [name for name in ("text", "document") if name in names]
    if not found:
        raise DataError(f"{source}: expected the column text (or document), got {', '.join(names)}")
    return found[0]


def encode_text(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of whole documents: start token, text, end token; nothing in a text is read as one of them.

    Raises:
        ConfigError: The tokenizer lacks one of the tokens.
    """
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    if start is None or end is None:
        raise ConfigError(
            "tokenizer: expected one with a start and an end token (bos_token, eos_token); this lacks one"
        )
    found = encode_plain_text(tokenizer, texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return [[start, *ids, end] for ids in found]


def tokenize_texts(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Turn texts into token ids; none is cut.

    Returns:
        The columns `input_ids` and `length`, row for row.
    """

    def tokenize(batch: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        ids = encode_text(tokenizer, batch["text"])
        return {"input_ids": ids, "length": [len(document) for document in ids]}

    return dataset.map(tokenize, batched=True, batch_size=100, remove_columns=dataset.column_names)
