"""Reading nodes of a pyramid of states in place of all states (``state_reach="pyramid"``; decision 0005).

A node has a number, as a state has: the mean of its children's. Letters: B documents, S segments, Z nodes of all
levels, H heads, D head width, E width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from simmim.nn.aggregators import AGGREGATORS
from simmim.nn.attend import AttendAttention
from simmim.nn.cache import SegmentCache
from simmim.nn.states import STATE_REACHES, AllStates, StateKeys
from simmim.nn.tokenwise import RMSNorm
from simmim.nn.variants.broadcast import BroadcastAttention, GatedBroadcastAttention
from simmim.ops.layout import Reach, SegmentLayout
from simmim.ops.pyramid import CarriedPyramid, PyramidNodes, StatePyramid
from simmim.ops.steps import READ, UNREAD, BatchColumns, StepLayout

__all__ = ["PyramidAttention", "PyramidBroadcastAttention", "PyramidGatedBroadcastAttention", "PyramidStates"]


@STATE_REACHES.register("pyramid")
class PyramidStates(AllStates):
    """Nodes of a pyramid over the states, ceil(log2 S) for each reader, which cover the rest of the document.

    Level 0 is norm(state); the node above is norm(aggregator(left, right)); a node without a partner goes up unchanged.
    Causal readers see complete nodes only (a Fenwick tree), which never change, so a cache holds one for each level.
    """

    def build_reach(self) -> None:
        """Add ``state_aggregator`` and ``state_norm``."""
        width = self.options.hidden_size
        self.state_aggregator = AGGREGATORS.find(self.options.aggregator)(width)
        self.state_norm = RMSNorm(width, eps=1e-6)

    def state_keys(
        self, pooled: Float[Tensor, "S E"], layout: SegmentLayout, past: SegmentCache | None = None
    ) -> tuple[Float[Tensor, "_ E"], StateKeys]:
        """Return the nodes of all levels, from level 0 up, with their keys and values."""
        nodes, numbers = self._nodes(self.state_norm(pooled), layout, past)
        return nodes, self.project_states(nodes, numbers)

    def _nodes(
        self, leaves: Float[Tensor, "S E"], layout: SegmentLayout, past: SegmentCache | None
    ) -> tuple[Float[Tensor, "Z E"], Float[Tensor, " Z"]]:
        if past is not None:
            return self._carried(leaves, layout, past)
        nodes, numbers = [leaves], [layout.rank.double()]
        pyramid = self._pyramid(layout, None)
        assert isinstance(pyramid, StatePyramid)
        for pair in pyramid.pairings:
            below, number = nodes[-1], numbers[-1]
            merged = self._merge(below[pair.left], below[pair.right], pair.paired)
            nodes.append(torch.where(pair.paired[:, None], merged, below[pair.left]))
            numbers.append((number[pair.left] + number[pair.right]) / 2)
        return torch.cat(nodes), torch.cat(numbers)

    def _carried(
        self, leaves: Float[Tensor, "S E"], layout: SegmentLayout, past: SegmentCache
    ) -> tuple[Float[Tensor, "Z E"], Float[Tensor, " Z"]]:
        assert past.nodes is not None
        # Rows of segments that were finished before, and are here as neighbours, are in the carried nodes already.
        made = leaves[layout.number >= past.number[layout.document]]
        none = past.nodes.new_zeros(len(past.nodes), leaves.shape[1])
        pyramid = self._pyramid(layout, past)
        assert isinstance(pyramid, CarriedPyramid)
        nodes, numbers = [], []
        for height, level in enumerate(pyramid.levels):
            carried = past.nodes[:, height] if height < past.nodes.shape[1] else none
            nodes.append(torch.cat((carried, made))[level.nodes])
            # Block b of 2^h segments begins with segment b*2^h; its number is that of its middle.
            numbers.append((level.block.double() + 0.5) * 2.0**height - 0.5)
            made = self._merge(nodes[-1][level.left], nodes[-1][level.right], level.left >= 0)
        return torch.cat(nodes), torch.cat(numbers)

    def _merge(self, left: Tensor, right: Tensor, paired: Tensor) -> Tensor:
        # An aggregator merges nodes of L positions; a state is a node of one.
        merged: Tensor = self.state_norm(self.state_aggregator(left[:, None], right[:, None], paired[:, None]))
        return merged[:, 0]

    def reach(self, layout: SegmentLayout, past: SegmentCache | None = None) -> Reach:
        """Say which nodes cover the rest of the document for each segment."""
        causal = self.options.causal
        reach: Reach = layout.memo(
            ("pyramid nodes", causal), lambda: PyramidNodes(layout, causal, self._pyramid(layout, past))
        )
        return reach

    @staticmethod
    def _pyramid(layout: SegmentLayout, past: SegmentCache | None) -> StatePyramid | CarriedPyramid:
        def make() -> StatePyramid | CarriedPyramid:
            if past is None:
                return StatePyramid.of(layout)
            assert layout.segment_offset is not None
            # What is new are the segments up to the last one here, finished or not, less those finished before.
            return CarriedPyramid.of(past.number, layout.segment_offset + layout.counts - past.number)

        pyramid: StatePyramid | CarriedPyramid = layout.memo("pyramid", make)
        return pyramid

    def cache_states(self, cache: SegmentCache, reach: Reach, vectors: Float[Tensor, "_ E"], keys: StateKeys) -> None:
        """Keep, for every level, the node that is part of the cover of the finished segments."""
        assert isinstance(reach, PyramidNodes)
        index, exists = reach.pyramid.prefix(cache.number)
        levels = int(cache.number.max()).bit_length() if len(cache.number) else 0
        index, exists = index[:, :levels], exists[:, :levels]

        def take(rows: Tensor) -> Tensor:
            if not len(rows):
                return rows.new_zeros(*index.shape, *rows.shape[1:])
            chosen = rows.index_select(0, index.flatten()).view(*index.shape, *rows.shape[1:])
            return chosen.masked_fill(~exists.view(*exists.shape, *[1] * (rows.dim() - 1)), 0)

        cache.add_states(*(take(key) for key in keys))
        cache.nodes = take(vectors)

    def finished(self, layout: StepLayout) -> list[list[float]]:
        """Return READ for the levels that the binary form of the segment's number names."""
        levels = range(max(layout.numbers, default=0).bit_length())
        return [[READ if number >> level & 1 else UNREAD for level in levels] for number in layout.unique_numbers]

    def finish(self, cache: SegmentCache, layout: StepLayout, pooled: Float[Tensor, "B E"]) -> None:
        """Count up in binary: a left node waits in its level, a right one merges with it and goes up."""
        node, level, done = self.state_norm(pooled), 0, layout.ends
        middle = cache.number.double()
        while done.any:
            waits = done.where([(number >> level) % 2 == 0 for number in layout.numbers])
            if waits.any:
                columns = BatchColumns([level] * len(node), waits)
                cache.write_state(columns, *self.project_states(node, middle), node)
            done = done.where([(number >> level) % 2 == 1 for number in layout.numbers])
            if done.any:
                assert cache.nodes is not None
                node = self._merge(cache.nodes[:, level], node, done.mask)
                # The merged node begins 2^level segments earlier, so its middle is half as many earlier.
                middle = middle - 2.0 ** (level - 1)
            level += 1


class PyramidAttention(PyramidStates, AttendAttention):
    """Tokens attend to nodes in the softmax of their own segment."""


class PyramidBroadcastAttention(PyramidStates, BroadcastAttention):
    """States read nodes, and every token of a segment gets the same message."""


class PyramidGatedBroadcastAttention(PyramidStates, GatedBroadcastAttention):
    """The same, through one learned scale a channel."""
