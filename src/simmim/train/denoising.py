"""Masked-span pretraining: hides spans of a document, which the model writes out again."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerBase

from simmim.errors import ConfigError

__all__ = ["SpanCorruption", "corrupt_spans"]


def corrupt_spans(
    ids: Sequence[int], mask_id: int, random: np.random.Generator, *, noise_density: float, mean_span: float
) -> tuple[list[int], list[int]]:
    """Replace spans of tokens by one mask token each, and collect what they hid.

    This is the span corruption of Raffel et al. 2020 (T5), section 3.1.4, with one difference: every span has the same
    mask token, and the order of the spans says which is which. Numbered sentinels would have to be as many as the
    longest document has spans, one for every 20 tokens at the usual setting.

    With spans BC and E of the text ABCDEF, the source is `A M D M F` and the target `M B C M E`.

    Args:
        ids: The tokens of a document, without a closing token.
        mask_id: The token M that stands for a span.
        random: Draws where the spans are; each way to place them is as likely as any other.
        noise_density: The share of tokens to hide, above 0 and below 1; at least one token is hidden.
        mean_span: The mean length of a span, in tokens, at least 1.

    Returns:
        The source and the target.

    Raises:
        ConfigError: `noise_density` or `mean_span` is out of range.
    """
    if not 0 < noise_density < 1:
        raise ConfigError(f"noise_density: expected a share above 0 and below 1, got {noise_density}.")
    if mean_span < 1:
        raise ConfigError(f"mean_span: expected at least 1 token, got {mean_span}.")
    if not ids:
        return [], []
    hidden = max(1, round(len(ids) * noise_density))
    kept = len(ids) - hidden
    spans = min(max(1, round(hidden / mean_span)), hidden, kept + 1)  # between two spans stands a token that is kept
    hidden_lengths = _parts(hidden, spans, random)
    kept_lengths = _parts(kept + 2, spans + 1, random)  # before the first and after the last span may stand nothing
    kept_lengths[[0, -1]] -= 1
    source: list[int] = []
    target: list[int] = []
    at = 0
    for kept_length, hidden_length in zip(kept_lengths.tolist(), hidden_lengths.tolist(), strict=False):
        start = at + kept_length
        source += [*ids[at:start], mask_id]
        target += [mask_id, *ids[start : start + hidden_length]]
        at = start + hidden_length
    return [*source, *ids[at:]], target


def _parts(total: int, count: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Cut `total` into `count` whole numbers of at least 1, every way being equally likely."""
    cuts = np.sort(random.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(cuts, prepend=0, append=total)


class SpanCorruption:
    """Makes batches of corrupted documents for a sequence-to-sequence model.

    What is hidden depends on nothing but the seed, the epoch and the document itself, so that an interrupted training
    goes on with the very spans that it would have had, and every epoch hides others.

    Raises:
        ConfigError: The tokenizer has no mask token, or a setting is out of range.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, seed: int, noise_density: float = 0.15, mean_span: float = 3.0
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise ConfigError(
                "pretraining: expected a tokenizer with a mask token, which stands for a hidden span; this one has "
                "none. Add one, or let the run train its own tokenizer (tokenizer.vocab_size)."
            )
        self._mask_id: int = tokenizer.mask_token_id
        self._end_id: int = tokenizer.eos_token_id
        self._settings = {"noise_density": noise_density, "mean_span": mean_span}
        self._seed = seed
        self._epoch = 0
        self._pad = DataCollatorForSeq2Seq(tokenizer)
        corrupt_spans([0], self._mask_id, np.random.default_rng(0), **self._settings)  # refuses wrong settings now

    def set_epoch(self, epoch: int) -> None:
        """Choose the spans of an epoch, counted from 0."""
        self._epoch = epoch

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Corrupt and pad a batch.

        Args:
            rows: `input_ids` of each document, the closing token at the end; other columns are left out.

        Returns:
            `input_ids` and `attention_mask`, `[B, N]`, and `labels`, `[B, M]`, with -100 in place of padding.
        """
        batch: Mapping[str, Any] = self._pad([self._corrupt(row["input_ids"]) for row in rows])
        return batch

    def _corrupt(self, ids: Sequence[int]) -> dict[str, list[int]]:
        text = list(ids[:-1] if ids[-1] == self._end_id else ids)
        key = zlib.crc32(np.asarray(text, dtype="<i8").tobytes())
        random = np.random.default_rng((self._seed, self._epoch, key))
        source, target = corrupt_spans(text, self._mask_id, random, **self._settings)
        return {"input_ids": [*source, self._end_id], "labels": [*target, self._end_id]}
