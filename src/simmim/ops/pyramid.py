"""Which nodes of one pyramid level meet in the next (source §3.2), and which nodes cover the rest of a document."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from simmim.ops.layout import Reach, SegmentLayout
from simmim.ops.segments import first_rows

__all__ = ["CarriedPyramid", "Carrying", "Pairing", "PyramidNodes", "StatePyramid", "pair_up", "pyramid_height"]

MOST = 1 << 16
"""How many segments an exported program allows for where no maximum is given; more of them are refused as it runs."""


def pyramid_height(segments: int) -> int:
    """Return how many levels stand above so many segments, until there is one node.

    While a program for documents of any length is exported, the number stands for all that it can be, and the answer is
    right for the largest: a level above the top is the top once more.
    """
    if isinstance(segments, torch.SymInt):
        upper = segments.node.shape_env.bound_sympy(segments.node.expr).upper
        if not upper.is_Integer or upper > MOST:
            message = (
                f"expected documents of at most {MOST} segments; export with a maximum length (Dim) for longer ones"
            )
            torch._assert_async(torch.full((), segments) <= MOST, message)
            upper = MOST
        segments = int(upper)
    return max(segments - 1, 0).bit_length()


@dataclass(frozen=True, eq=False)
class Pairing:
    """Says how the nodes of all documents' level h-1 make level h.

    Attributes:
        left: ``[T]`` for each new node, the row of its left child.
        right: ``[T]`` the row of its right child; where it has none, the row of the left one.
        paired: ``[T]`` true where there are two children.
        counts: ``[B]`` new nodes of each document.
        rows: rows that every document takes, if it is the same number for all; else None: its count.
    """

    left: Int[Tensor, " T"]
    right: Int[Tensor, " T"]
    paired: Bool[Tensor, " T"]
    counts: Int[Tensor, " B"]
    rows: int | None


def pair_up(counts: Int[Tensor, " B"], rows: int | None = None) -> Pairing:
    """Pair the nodes 2i and 2i+1 (from 0) of every document; a last node without a partner stays alone.

    Args:
        counts: ``[B]`` nodes of each document; they stand one document after the other.
        rows: rows that every document takes, where those after its last node are empty; None if there are none. Known
            shapes are what ``torch.compile`` needs; without them only nodes that exist have rows.
    """
    if rows is None:
        above = (counts + 1) // 2
        before = counts.cumsum(0) - counts
        document = torch.arange(counts.shape[0], device=counts.device).repeat_interleave(above)
        number = torch.arange(document.shape[0], device=counts.device) - (above.cumsum(0) - above)[document]
        left = before[document] + 2 * number
        paired = 2 * number + 1 < counts[document]
        return Pairing(left, left + paired.long(), paired, above, None)
    # Where a layout has an empty row more, so that no size is one, so has every level.
    higher = (rows + 2) // 2 if torch.compiler.is_exporting() else (rows + 1) // 2
    number = torch.arange(higher, device=counts.device).expand(counts.shape[0], -1)
    left = torch.arange(counts.shape[0], device=counts.device)[:, None] * rows + (2 * number).clamp(max=rows - 1)
    paired = 2 * number + 1 < counts[:, None]
    right = left + paired.long()
    return Pairing(left.flatten(), right.flatten(), paired.flatten(), (counts + 1) // 2, higher)


@dataclass(frozen=True, eq=False)
class StatePyramid:
    """The pyramid over the segment states of a batch: nodes of level 0, then of level 1, and so on up to the tops.

    The sibling of segment i's ancestor at each level covers what the siblings below do not, so that together they
    cover every segment but i; the left ones alone cover the segments before i, and are complete (a Fenwick tree).

    Attributes:
        pairings: how each level makes the next; there are P = ceil(log2 S_max) of them.
        counts: ``[P+1, B]`` nodes of each document in each level.
        starts: ``[P+1, B]`` number of each document's first node in each level, counted over all levels.
    """

    pairings: tuple[Pairing, ...]
    counts: Int[Tensor, "P B"]
    starts: Int[Tensor, "P B"]

    @classmethod
    def of(cls, layout: SegmentLayout) -> StatePyramid:
        """Build the pyramid of a layout's segments."""
        pairings: list[Pairing] = []
        counts, rows, total = layout.counts, layout.rows, layout.segments
        all_counts, starts = [counts], [layout.first]
        for _ in range(pyramid_height(layout.max_segments)):
            pairing = pair_up(counts, rows)
            counts, rows = pairing.counts, pairing.rows
            pairings.append(pairing)
            all_counts.append(counts)
            starts.append(first_rows(counts, rows) + total)
            total += pairing.left.shape[0]
        return cls(tuple(pairings), torch.stack(all_counts), torch.stack(starts))

    def cover(self, layout: SegmentLayout, causal: bool) -> tuple[Int[Tensor, "S P"], Bool[Tensor, "S P"]]:
        """Return for every segment the nodes that cover the rest of its document (causal: what is before it).

        Returns:
            For each level below the tops the number of a node, and whether there is one.
        """
        return self.siblings(layout.document, layout.rank, causal)

    def siblings(
        self, document: Int[Tensor, " S"], rank: Int[Tensor, " S"], causal: bool
    ) -> tuple[Int[Tensor, "S P"], Bool[Tensor, "S P"]]:
        """Return what ``cover`` does for segments of these documents that have these numbers in them."""
        levels = torch.arange(len(self.pairings), device=rank.device)
        ancestor = rank[:, None] >> levels
        sibling = ancestor ^ 1
        exists = sibling < self.counts[:-1].T[document]
        if causal:
            exists = exists & (ancestor % 2 == 1)
        nodes = self.starts[:-1].T[document] + sibling
        return torch.where(exists, nodes, torch.zeros_like(nodes)), exists

    def prefix(self, number: Int[Tensor, " B"]) -> tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]]:
        """Return for every document and level the node that is part of the cover of its first ``number`` segments."""
        levels = torch.arange(len(self.counts), device=number.device)
        # The cover is the binary form of the number: where bit h is set, the last whole block of 2^h segments.
        after = number[:, None] >> levels
        exists = after % 2 == 1
        nodes = self.starts.T + after - 1
        return torch.where(exists, nodes, torch.zeros_like(nodes)), exists


@dataclass(frozen=True, eq=False)
class Carrying:
    """Says what one level of a ``CarriedPyramid`` holds, and how it makes the next.

    Attributes:
        nodes: ``[T]`` the level's nodes, as rows of the B carried ones followed by those made of the level below.
        block: ``[T]`` which 2**h segments each node is of: the block-th of its document.
        left, right: ``[U]`` for each node of the next level, its children in this one.
    """

    nodes: Int[Tensor, " T"]
    block: Int[Tensor, " T"]
    left: Int[Tensor, " U"]
    right: Int[Tensor, " U"]


@dataclass(frozen=True, eq=False)
class CarriedPyramid:
    """The complete nodes over documents that go on, of which one node a level is carried from what came before.

    It is counting in binary: ``number`` finished segments are covered by one node for each 1 in ``number``, and a level
    begins with its carried node, if there is one, followed by the new ones. Its first block is thus always even, and
    blocks meet in pairs from the first on.

    Attributes:
        levels: from level 0 up.
        first: ``[P, B]`` the block that each document's level begins with.
        starts: ``[P, B]`` number of each document's first node in each level, counted over all levels.
        counts: ``[P, B]`` nodes of each document in each level.
    """

    levels: tuple[Carrying, ...]
    first: Int[Tensor, "P B"]
    starts: Int[Tensor, "P B"]
    counts: Int[Tensor, "P B"]

    @classmethod
    def of(cls, number: Int[Tensor, " B"], counts: Int[Tensor, " B"]) -> CarriedPyramid:
        """Build the pyramid over ``counts`` more segments after the first ``number``."""
        documents = torch.arange(len(number), device=number.device)
        levels: list[Carrying] = []
        first, starts, all_counts, total, made = [], [], [], 0, counts
        while not levels or bool((made > 0).any()) or bool((number > 0).any()):
            carried = number % 2
            present = carried + made
            start, made_start = present.cumsum(0) - present, made.cumsum(0) - made
            document = documents.repeat_interleave(present)
            # Of each document first the carried node, if there is one, then the new ones. Their rows: one a document
            # for carried nodes, then those of all new ones.
            slot = torch.arange(document.shape[0], device=number.device) - start[document]
            new = len(number) + (made_start - carried)[document] + slot
            nodes = torch.where(slot < carried[document], document, new)
            first.append(number - carried)
            starts.append(start + total)
            all_counts.append(present)
            total += document.shape[0]
            made = present // 2
            parent = documents.repeat_interleave(made)
            left = start[parent] + 2 * (
                torch.arange(len(parent), device=number.device) - (made.cumsum(0) - made)[parent]
            )
            levels.append(Carrying(nodes, first[-1][document] + slot, left, left + 1))
            number = number // 2
        return cls(tuple(levels), torch.stack(first), torch.stack(starts), torch.stack(all_counts))

    def cover(self, layout: SegmentLayout, causal: bool) -> tuple[Int[Tensor, "S P"], Bool[Tensor, "S P"]]:
        """Return for every segment the nodes that cover what is before it: one a level, and whether there is one."""
        assert causal, "only what is before a segment is carried"
        return self._before(layout.number, layout.document)

    def prefix(self, number: Int[Tensor, " B"]) -> tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]]:
        """Return for every document and level the node that is part of the cover of its first ``number`` segments."""
        return self._before(number, torch.arange(len(number), device=number.device))

    def _before(self, number: Int[Tensor, " R"], document: Int[Tensor, " R"]) -> tuple[Tensor, Tensor]:
        ancestor = number[:, None] >> torch.arange(len(self.levels), device=number.device)
        # The left sibling of an ancestor with an odd number, counted from the block that the level begins with.
        slot = ancestor - 1 - self.first.T[document]
        exists = (ancestor % 2 == 1) & (slot >= 0) & (slot < self.counts.T[document])
        nodes = self.starts.T[document] + slot
        return torch.where(exists, nodes, torch.zeros_like(nodes)), exists


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

    def arrange(self, states: Float[Tensor, "Z H D"]) -> Float[Tensor, "Z 1 H D"]:
        """Put each node into a row of its own."""
        return states[:, None]

    def scores(self, q: Float[Tensor, "S H D"], k: Float[Tensor, "Z H D"]) -> Float[Tensor, "S H C"]:
        """Multiply with the gathered keys."""
        return torch.einsum("shd,schd->shc", q, k[self.row])

    def mix(self, weights: Float[Tensor, "S H C"], v: Float[Tensor, "Z H D"]) -> Float[Tensor, "S H D"]:
        """Sum the gathered values."""
        return torch.einsum("shc,schd->shd", weights, v[self.row])
