"""Turns examples of documents with summaries into token ids."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from simmim.data.control_tokens import encode_plain_text
from simmim.errors import ConfigError

__all__ = ["tokenize_examples"]

logger = logging.getLogger(__name__)


def tokenize_examples(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_source_tokens: int | None = None,
    max_target_tokens: int | None = None,
) -> Dataset:
    """Encode documents and summaries; how many of them are cut is logged, never silent.

    Args:
        dataset: Rows with `document` and `summary`.
        tokenizer: Ends each text with a closing token, which stays when the text is cut.
        max_source_tokens: Longest document, in tokens, closing token included; None never cuts.
        max_target_tokens: Longest summary, likewise.

    Returns:
        The columns `input_ids`, `labels` and `length` (tokens in `input_ids`), row for row.

    Raises:
        ConfigError: A limit is below 2, so that it leaves no text beside the closing token.
    """
    for name, limit in (("max_source_tokens", max_source_tokens), ("max_target_tokens", max_target_tokens)):
        if limit is not None and limit < 2:
            raise ConfigError(f"{name}: expected None or at least 2 (one token and the closing one), got {limit}.")

    def tokenize(batch: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        sources = encode_plain_text(tokenizer, batch["document"])["input_ids"]
        targets = encode_plain_text(tokenizer, batch["summary"])["input_ids"]
        inputs = [_cut(ids, max_source_tokens) for ids in sources]
        return {
            "input_ids": inputs,
            "labels": [_cut(ids, max_target_tokens) for ids in targets],
            "length": [len(ids) for ids in inputs],
            "source_tokens": [len(ids) for ids in sources],
            "target_tokens": [len(ids) for ids in targets],
        }

    tokenized = dataset.map(tokenize, batched=True, remove_columns=dataset.column_names)
    for name, limit in (("source_tokens", max_source_tokens), ("target_tokens", max_target_tokens)):
        if limit is not None:
            lengths = tokenized[name]
            cut = sum(length > limit for length in lengths)
            if cut:
                logger.warning("max_%s=%d cuts %d of %d texts", name, limit, cut, len(tokenized))
    return tokenized.remove_columns(["source_tokens", "target_tokens"])


def _cut(ids: list[int], limit: int | None) -> list[int]:
    """Shorten token ids to `limit`, and keep the last one, which closes the text."""
    return ids if limit is None or len(ids) <= limit else [*ids[: limit - 1], ids[-1]]
