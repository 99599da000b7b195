"""Compares what language models pay for the same documents: bits per byte, over all and by position, with intervals."""

from __future__ import annotations

import itertools
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simmim.errors import DataError
from simmim.tasks.bootstrap import Draws, interval
from simmim.tasks.language_modelling.bits_per_byte import TokenCosts
from simmim.tasks.summarization.comparison import FEW

__all__ = ["Position", "bits_by_position", "compare_binned", "compare_language_models", "position_edges", "xz_bits"]

_FIRST = 256


@dataclass(frozen=True)
class Position:
    """A range of positions in documents.

    Attributes:
        label: The range in words, in tokens of the first model; k is 1,024.
        least: The first position that belongs here, counted from 0.
        below: The position from which none does; None for the last range.
    """

    label: str
    least: int
    below: int | None


def position_edges(longest: int) -> list[Position]:
    """Return the ranges 0 to 256, 256 to 512 and so on, each twice the one before, up to a document's end."""
    edges = [0, _FIRST]
    while edges[-1] < longest:
        edges.append(2 * edges[-1])
    last = len(edges) - 2
    return [
        Position(
            f"{_short(least)} to {_short(below)}" if index < last else f"{_short(least)} or more",
            least,
            below if index < last else None,
        )
        for index, (least, below) in enumerate(itertools.pairwise(edges))
    ]


def xz_bits(text: str) -> float:
    """Return the bits that `xz -9e` makes of a text on its own: what an ordinary compressor pays."""
    return 8.0 * len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def compare_language_models(
    systems: Mapping[str, Sequence[TokenCosts]],
    *,
    groups: Sequence[str] | None = None,
    whole: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Compare systems on the same documents, and the first one with each other one.

    A figure is the bits of all documents by their bytes. Positions are counted in tokens of the first system; tokens of
    another one belong where they begin in the text. Intervals (95 %) are from a bootstrap over groups, the same draws
    for every system and range, so that differences are paired.

    Args:
        systems: Costs of each, in the order of the documents.
        groups: What each document belongs to; None if that is not known: then each is alone.
        whole: Bits of each document, of systems that know no positions.

    Returns:
        Ready for JSON: `bits_per_byte` and `differences` (the first minus each other one) by system, and the same for
        each range of `by_position` that has any bytes, with the documents and bytes that reach it.

    Raises:
        DataError: A system has not one entry for each document, or there are no documents.
    """
    first = systems[next(iter(systems))]
    for name, found in systems.items():
        if len(found) != len(first) or not first:
            raise DataError(f"{name}: expected one entry for each of the {len(first)} documents, got {len(found)}.")
    positions = position_edges(max(len(costs.nats) for costs in first))
    binned = {name: bits_by_position(found, first, positions) for name, found in systems.items()}
    sizes = next(iter(binned.values()))[1]
    bits = {name: found for name, (found, _) in binned.items()}
    return compare_binned(bits, sizes, positions, groups=groups, whole=whole)


def bits_by_position(
    costs: Sequence[TokenCosts], first: Sequence[TokenCosts], positions: Sequence[Position]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sum the costs of documents over ranges of positions.

    Args:
        costs: Of each document.
        first: The costs, of the same documents, in whose tokens positions are counted.
        positions: The ranges.

    Returns:
        Bits and bytes, each `[documents, ranges]`.
    """
    borders = [_borders(one, positions) for one in first]
    bits = np.array([_binned(*pair) for pair in zip(costs, borders, strict=True)])
    return bits, np.array([np.diff(one) for one in borders], dtype=np.float64)


def compare_binned(
    bits: Mapping[str, npt.NDArray[np.float64]],
    sizes: npt.NDArray[np.float64],
    positions: Sequence[Position],
    *,
    groups: Sequence[str] | None = None,
    whole: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Compare systems as `compare_language_models` does.

    Args:
        bits: Of each system `[documents, ranges]`.
        sizes: Bytes, likewise.
        positions: The ranges.
        groups: As of `compare_language_models`, like all that follows.
        whole: Bits of each document.
    """
    whole, documents = whole or {}, len(sizes)
    labels = list(range(documents)) if groups is None else list(groups)
    for name, given in {**whole, "groups": labels}.items():
        if len(given) != documents:
            raise DataError(f"{name}: expected one entry for each of the {documents} documents, got {len(given)}.")
    draws = Draws(labels)
    totals = {name: found.sum(1) for name, found in bits.items()}
    totals |= {name: np.asarray(found, dtype=np.float64) for name, found in whole.items()}
    by_position = []
    for index, position in enumerate(positions):
        reach = int((sizes[:, index] > 0).sum())
        if not reach:  # no conversation has a reply there
            continue
        row: dict[str, Any] = {"label": position.label, "least": position.least, "below": position.below}
        row |= {"documents": reach, "few": reach < FEW, "bytes": int(sizes[:, index].sum())}
        part = {name: found[:, index] for name, found in bits.items()}
        by_position.append(row | _figures(draws, part, sizes[:, index]))
    return {**_figures(draws, totals, sizes.sum(1)), "by_position": by_position}


def _figures(
    draws: Draws, bits: Mapping[str, npt.NDArray[np.float64]], sizes: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Return the ratios of systems, and of the first minus the others, with their intervals."""
    drawn = draws.resampled(sizes)
    some = drawn > 0
    ratios = {
        name: (values.sum() / sizes.sum(), draws.resampled(values)[some] / drawn[some]) for name, values in bits.items()
    }
    first, *others = ratios
    return {
        "bits_per_byte": {name: _interval(*found) for name, found in ratios.items()},
        "differences": {
            name: _interval(ratios[first][0] - ratios[name][0], ratios[first][1] - ratios[name][1]) for name in others
        },
    }


def _interval(mean: float, drawn: npt.NDArray[np.float64]) -> dict[str, float]:
    low, high = interval(drawn)
    return {"mean": round(float(mean), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _borders(costs: TokenCosts, positions: Sequence[Position]) -> npt.NDArray[np.int64]:
    """Return where each range begins in the text of a document, in bytes, and last where the text ends."""
    indices = [min(position.least, len(costs.nats)) for position in positions]
    starts = np.append(costs.starts, costs.bytes)
    return np.append(starts[indices], costs.bytes)


def _binned(costs: TokenCosts, borders: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the bits of the tokens that begin in each range; the end token belongs to the last byte."""
    starts = np.minimum(costs.starts, max(costs.bytes - 1, 0))
    index = np.searchsorted(borders[1:-1], starts, side="right")
    summed: npt.NDArray[np.float64] = np.bincount(index, costs.bits, len(borders) - 1).astype(np.float64)
    return summed


def _short(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)
