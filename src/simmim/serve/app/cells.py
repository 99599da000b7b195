"""Lays out the pyramid over a document's segments as cells of a map, of bounded number."""

from __future__ import annotations

from typing import Any

import numpy as np

from simmim.reading.opened import OpenDocument
from simmim.serve.app.offsets import Offsets

__all__ = ["MOST_CELLS", "levels_of", "map_of", "segment_starts"]

MOST_CELLS = 2_000


def levels_of(segments: int, most: int = MOST_CELLS) -> list[tuple[int, int]]:
    """Return height and number of nodes of each level of the pyramid that is shown, the root first.

    The levels under those that fit are left out: a cell of the lowest shown level stands for 2^height segments.
    """
    levels, height, count = [], 0, max(segments, 1)
    while True:
        levels.append((height, count))
        if count == 1:
            break
        height, count = height + 1, -(-count // 2)
    while sum(count for _, count in levels) > most and len(levels) > 1:
        levels.pop(0)
    return levels[::-1]


def segment_starts(document: OpenDocument, length: int) -> np.ndarray:
    """Return the first character of each segment, int64, [S].

    Args:
        document: the document.
        length: L, tokens of a segment.
    """
    tokens = document.tokens
    begins = np.arange(document.segments) * length
    at = np.minimum(np.maximum(begins, tokens.prompt), len(tokens.ids) - 1)
    starts: np.ndarray = tokens.starts[at].astype(np.int64)
    starts[begins < tokens.prompt] = 0
    return starts


def map_of(starts: np.ndarray, offsets: Offsets) -> dict[str, Any]:
    """Return the cells of a map, the root first; a cell reaches to the next one of its level, the last to `end`.

    Args:
        starts: the first character of each segment.
        offsets: of the text; the positions in the result are in code units.
    """
    units = offsets.all_to_units(starts)
    levels = [{"height": height, "begins": units[:: 1 << height].tolist()} for height, _ in levels_of(len(starts))]
    return {"segments": len(starts), "end": offsets.units, "levels": levels}
