"""Draws the samples of a bootstrap: groups of documents that are alike, the same draws for all that is compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Draws", "interval"]

_SAMPLES = 1000


class Draws:
    """1,000 samples of groups, each as many as there are, drawn with replacement.

    Args:
        groups: what each document belongs to, in their order.
    """

    def __init__(self, groups: Sequence[object]) -> None:
        names, self._group = np.unique(np.asarray(groups), return_inverse=True)
        self._groups, random = len(names), np.random.default_rng(0)
        self._drawn = [random.integers(self._groups, size=self._groups) for _ in range(_SAMPLES)]

    def sums(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Sum the values of documents, `[documents, ...]`, over groups: `[groups, ...]`."""
        totals = np.zeros((self._groups, *values.shape[1:]), values.dtype)
        np.add.at(totals, self._group, values)
        return totals

    def resampled(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the sums of documents' values in each sample, `[samples, ...]`."""
        totals = self.sums(values)
        return np.stack([totals[drawn].sum(axis=0) for drawn in self._drawn])


def interval(drawn: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the lower and the upper end of the 95 % interval, of the figures of all samples."""
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return low, high
