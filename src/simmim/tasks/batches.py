"""Puts texts of like length into one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["TOKEN_BUDGET", "batches"]

TOKEN_BUDGET = 16_384
"""Tokens of a batch at most, padding and beams included; a longer document is alone."""


def batches(lengths: Sequence[int], batch_size: int, token_budget: int) -> Iterator[list[int]]:
    """Put documents of like length together, the longest first, so that what needs most memory is tried first.

    Args:
        lengths: tokens of each document.
        batch_size: documents of a batch at most.
        token_budget: tokens of a batch at most, padding included; one document alone may have more.

    Yields:
        The indices of a batch's documents among `lengths`.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)
    while order:
        size = min(batch_size, max(1, token_budget // max(1, lengths[order[0]])))
        yield order[:size]
        order = order[size:]
