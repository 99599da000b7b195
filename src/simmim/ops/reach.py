"""Which states a segment reads (``state_reach``): every other segment's, or pyramid nodes that cover the same.

Letters: S segments of all documents together, M states to be read, C of them that one segment reads, H heads, D head
width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from simmim.ops.pyramid import CarriedPyramid, StatePyramid
from simmim.ops.segments import SegmentLayout

__all__ = ["EverySegment", "PyramidNodes", "Reach", "share_of"]


def share_of(states: Int[Tensor, " S"], most: int, dtype: torch.dtype) -> Float[Tensor, " S"]:
    """Return what scores get so that n states weigh together no more than so many keys: -log(n / most), or 0."""
    return (most / states.clamp(min=most).to(torch.promote_types(dtype, torch.float32))).log()


class Reach(ABC):
    """Says for every segment which states it reads; ``mask [S, C]`` is true where there is such a state."""

    mask: Bool[Tensor, "S C"]
    row: Int[Tensor, "S *C"]

    @property
    def count(self) -> Int[Tensor, " S"]:
        """How many states each segment reads."""
        return self.mask.sum(1)

    @abstractmethod
    def arrange(self, states: Float[Tensor, "M H D"]) -> Float[Tensor, "U _ H D"]:
        """Put states into rows, of which every segment reads those that ``row`` says (``simmim.ops.gathered``)."""

    @abstractmethod
    def scores(self, q: Float[Tensor, "S H D"], k: Float[Tensor, "M H D"]) -> Float[Tensor, "S H C"]:
        """Return q·k of every segment's query and the keys of the states that it reads."""

    @abstractmethod
    def mix(self, weights: Float[Tensor, "S H C"], v: Float[Tensor, "M H D"]) -> Float[Tensor, "S H D"]:
        """Return the weighted sum of the values of the states that each segment reads."""


class EverySegment(Reach):
    """The states of all other segments of the document (causal: of those before): C = S_max, column j is segment j.

    Args:
        layout: the segments.
        causal: read only what is before each segment.
        room: columns for states of segments laid out earlier; such states come before the layout's own, document by
            document.
    """

    def __init__(self, layout: SegmentLayout, causal: bool, room: int = 0) -> None:
        self.layout, self._table = layout, layout.table
        if layout.before is not None:
            column = torch.arange(layout.longest, device=layout.rank.device)
            old = torch.arange(len(layout.counts), device=column.device)[:, None] * room + column
            new = len(layout.counts) * room + layout.first[:, None] + column - layout.before[:, None]
            exists = column < (layout.before + layout.counts)[:, None]
            finished = (layout.before + layout.origin // layout.segment_length)[:, None]
            self._table = torch.where(column < finished, old, new).masked_fill(~exists, 0)
        self.mask, self.row = layout.readable(causal), layout.document
        self._row_in_table = layout.document * layout.max_segments + layout.rank

    def arrange(self, states: Float[Tensor, "M H D"]) -> Float[Tensor, "B C H D"]:
        """Put each document's states into one row."""
        return states.index_select(0, self._table.flatten()).view(*self._table.shape, *states.shape[1:])

    def scores(self, q: Float[Tensor, "S H D"], k: Float[Tensor, "M H D"]) -> Float[Tensor, "S H C"]:
        """Multiply document by document: one matrix product each."""
        return self._rows(torch.einsum("bihd,bjhd->bhij", self.layout.by_document(q), self.arrange(k)))

    def mix(self, weights: Float[Tensor, "S H C"], v: Float[Tensor, "M H D"]) -> Float[Tensor, "S H D"]:
        """Multiply document by document: one matrix product each."""
        table = self.layout.by_document(weights)
        return self._rows(torch.einsum("bihj,bjhd->bhid", table, self.arrange(v)))

    def _rows(self, found: Float[Tensor, "B H I X"]) -> Float[Tensor, "S H X"]:
        """Return what was found for each segment."""
        if torch.compiler.is_exporting():  # to flatten, torch would ask how many segments there are
            return found[self.layout.document, :, self.layout.rank]
        return found.transpose(1, 2).flatten(0, 1).index_select(0, self._row_in_table)


class PyramidNodes(Reach):
    """The nodes that cover the rest of the document (causal: what is before).

    C = ceil(log2 S_max), and column h is of level h.

    Args:
        layout: the segments.
        causal: cover only what is before each segment.
        pyramid: over the layout's segments.
    """

    def __init__(self, layout: SegmentLayout, causal: bool, pyramid: StatePyramid | CarriedPyramid) -> None:
        self.pyramid = pyramid
        self.row, self.mask = pyramid.cover(layout, causal)

    def arrange(self, states: Float[Tensor, "M H D"]) -> Float[Tensor, "M 1 H D"]:
        """Put each node into a row of its own."""
        return states[:, None]

    def scores(self, q: Float[Tensor, "S H D"], k: Float[Tensor, "M H D"]) -> Float[Tensor, "S H C"]:
        """Multiply with the gathered keys."""
        return torch.einsum("shd,schd->shc", q, k[self.row])

    def mix(self, weights: Float[Tensor, "S H C"], v: Float[Tensor, "M H D"]) -> Float[Tensor, "S H D"]:
        """Sum the gathered values."""
        return torch.einsum("shc,schd->shd", weights, v[self.row])
