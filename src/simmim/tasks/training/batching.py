"""Groups examples of like length into batches, by a number of tokens or of examples."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from simmim.errors import ConfigError

__all__ = ["EpochBatches", "LengthBatches"]

_STEP = 1.1  # lengths within a tenth of each other count as alike

logger = logging.getLogger(__name__)


class EpochBatches(Sampler[list[int]], ABC):
    """Batches of which it is known in every epoch which they are, as a run that goes on within an epoch needs."""

    @abstractmethod
    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""

    @abstractmethod
    def batches(self, epoch: int) -> list[list[int]]:
        """Return the row numbers, counted from 0, of every batch of an epoch."""


class LengthBatches(EpochBatches):
    """Batches of examples of like length, in random order; each epoch mixes them anew.

    The examples are sorted into classes of lengths within a tenth of each other, shuffled inside their class and cut
    into batches as if each were as long as its class allows. So every epoch has the same number of batches, which the
    scheduler and a resumed run count on, and the order depends on nothing but the seed and the epoch.

    Args:
        lengths: Tokens of each example.
        seed: Fixes the order.
        max_tokens: The most tokens that a batch may hold, padding included. A longer example gets a batch of its own;
            how many do is logged.
        max_examples: The most examples that a batch may hold, instead of `max_tokens`.

    Raises:
        ConfigError: Not exactly one of the limits is given.
    """

    def __init__(
        self, lengths: Sequence[int], *, seed: int, max_tokens: int | None = None, max_examples: int | None = None
    ) -> None:
        if (max_tokens is None) == (max_examples is None):
            raise ConfigError(
                f"max_tokens, max_examples: expected exactly one of them, got {max_tokens} and {max_examples}."
            )
        known = np.asarray(lengths, dtype=np.int64)
        self._classes = _class_bounds(known)
        if max_tokens is not None:
            self._classes = np.where(known <= max_tokens, np.minimum(self._classes, max_tokens), self._classes)
            _say_longer(known, max_tokens)
        self._cuts = _cuts(np.sort(self._classes).tolist(), max_tokens, max_examples)
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self._epoch = epoch

    def batches(self, epoch: int) -> list[list[int]]:
        """Return the row numbers, counted from 0, of every batch of an epoch."""
        random = np.random.default_rng((self._seed, epoch))
        shuffled = random.permutation(len(self._classes))
        ordered = shuffled[np.argsort(self._classes[shuffled], kind="stable")]
        batches = np.split(ordered, self._cuts)
        return [batches[index].tolist() for index in random.permutation(len(batches))]

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return len(self._cuts) + 1

    def __iter__(self) -> Iterator[list[int]]:
        """Go through the batches of the chosen epoch."""
        return iter(self.batches(self._epoch))


def _class_bounds(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each length the longest length of its class."""
    bounds = [1]
    while bounds[-1] < lengths.max(initial=1):
        bounds.append(max(bounds[-1] + 1, int(bounds[-1] * _STEP)))
    grid = np.asarray(bounds, dtype=np.int64)
    return grid[np.searchsorted(grid, lengths)]


def _cuts(ordered: Sequence[int], max_tokens: int | None, max_examples: int | None) -> list[int]:
    """Return where the ascending lengths are cut, so that no batch exceeds a limit with more than one example."""
    cuts, start = [], 0
    for at, length in enumerate(ordered):
        count = at - start + 1
        full = count * length > max_tokens if max_tokens is not None else count > (max_examples or 1)
        if full and count > 1:
            cuts.append(at)
            start = at
    return cuts


def _say_longer(lengths: npt.NDArray[np.int64], max_tokens: int) -> None:
    """Log how many examples do not fit the budget."""
    longer = lengths[lengths > max_tokens]
    if len(longer):
        logger.warning(
            "batching.max_tokens=%d: %d of %d documents are longer, up to %d tokens; each gets a batch of its own",
            *(max_tokens, len(longer), len(lengths), longer.max()),
        )
