"""How far the readers of states see (``state_reach``): every segment's state, or the nodes of a pyramid of states.

A reach adds the parameters that it needs to the ``SMIAttention`` that it serves and keeps none of its own; it says
which states there are, who reads which of them, and what of them a decoding cache holds. A state stands at a number:
that of its segment, or the mean of its children's numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from simmim.nn.aggregators import AGGREGATORS
from simmim.nn.norm import RMSNorm
from simmim.nn.registry import Registry
from simmim.nn.segment_cache import SegmentCache
from simmim.ops.pyramid import CarriedPyramid, StatePyramid
from simmim.ops.reach import EverySegment, PyramidNodes, Reach
from simmim.ops.segments import SegmentLayout
from simmim.ops.steps import READ, UNREAD, Columns, StepLayout

if TYPE_CHECKING:
    from simmim.nn.smi_attention import SMIAttention

__all__ = ["STATE_REACHES", "AllStates", "PyramidStates", "StateReach"]

Keys = tuple[Float[Tensor, "M H D"], Float[Tensor, "M H D"]]


class StateReach:
    """Base of the reaches; what it defines itself is right for states that are all read."""

    def build(self, attention: SMIAttention, aggregator: str) -> None:
        """Add to the attention the parameters that this reach needs."""

    def states(
        self,
        attention: SMIAttention,
        pooled: Float[Tensor, "S E"],
        layout: SegmentLayout,
        past: SegmentCache | None = None,
    ) -> tuple[Float[Tensor, "V E"], Keys]:
        """Return the vectors of new states, and keys and values of all states that anybody may read."""
        keys = attention.project_states(pooled, layout.number)
        if past is None:
            return pooled, keys
        old_keys, old_values = (states.transpose(1, 2).flatten(0, 1) for states in past.states)
        return pooled, (torch.cat((old_keys, keys[0])), torch.cat((old_values, keys[1])))

    def of(self, layout: SegmentLayout, causal: bool, past: SegmentCache | None = None) -> Reach:
        """Say who reads which of these states; layers that share a layout share the answer."""
        room = 0 if past is None else past.states[0].shape[2]
        reach: Reach = layout.memo(("every segment", causal, room), lambda: EverySegment(layout, causal, room))
        return reach

    def keep(self, cache: SegmentCache, reach: Reach, vectors: Float[Tensor, "V E"], keys: Keys) -> None:
        """Put into a cache what the tokens to come may read."""
        cache.add_states(*(reach.arrange(key) for key in keys))

    def finished(self, layout: StepLayout) -> list[list[float]]:
        """Return ``[U][C]``: READ for those of a cache's states that the next token reads; there are no more than C."""
        most = max(layout.numbers, default=0)
        return [[READ] * number + [UNREAD] * (most - number) for number in layout.told_numbers]

    def finish(
        self, attention: SMIAttention, cache: SegmentCache, layout: StepLayout, pooled: Float[Tensor, "B E"]
    ) -> None:
        """Take up the states of the segments that the next token finishes."""
        cache.write_state(Columns(layout.numbers, layout.ends), *attention.project_states(pooled, cache.number))


STATE_REACHES: Registry[StateReach] = Registry("state_reach")


@STATE_REACHES.register("all")
class AllStates(StateReach):
    """Every other segment's state (causal: every earlier one's): S of them."""


@STATE_REACHES.register("pyramid")
class PyramidStates(StateReach):
    """Nodes of a pyramid over the states, ceil(log2 S) for each reader, which cover the rest of the document.

    Level 0 is norm(state); the node above is norm(aggregator(left, right)); a node without a partner goes up unchanged.
    Causal readers see complete nodes only (a Fenwick tree), which never change, so a cache holds one for each level.
    """

    def build(self, attention: SMIAttention, aggregator: str) -> None:
        """Add ``state_aggregator`` and ``state_norm``."""
        attention.state_aggregator = AGGREGATORS.find(aggregator)(attention.hidden_size)
        attention.state_norm = RMSNorm(attention.hidden_size, eps=1e-6)

    def states(
        self,
        attention: SMIAttention,
        pooled: Float[Tensor, "S E"],
        layout: SegmentLayout,
        past: SegmentCache | None = None,
    ) -> tuple[Float[Tensor, "V E"], Keys]:
        """Return the nodes of all levels, from level 0 up, with their keys and values."""
        nodes, numbers = self._nodes(attention, attention.state_norm(pooled), layout, past)
        return nodes, attention.project_states(nodes, numbers)

    def _nodes(
        self, attention: SMIAttention, leaves: Float[Tensor, "S E"], layout: SegmentLayout, past: SegmentCache | None
    ) -> tuple[Float[Tensor, "M E"], Float[Tensor, " M"]]:
        if past is not None:
            return self._carried(attention, leaves, layout, past)
        nodes, numbers = [leaves], [layout.rank.double()]
        pyramid = self._pyramid(layout, None)
        assert isinstance(pyramid, StatePyramid)
        for pair in pyramid.pairings:
            below, number = nodes[-1], numbers[-1]
            merged = self._merge(attention, below[pair.left], below[pair.right], pair.paired)
            nodes.append(torch.where(pair.paired[:, None], merged, below[pair.left]))
            numbers.append((number[pair.left] + number[pair.right]) / 2)
        return torch.cat(nodes), torch.cat(numbers)

    def _carried(
        self, attention: SMIAttention, leaves: Float[Tensor, "S E"], layout: SegmentLayout, past: SegmentCache
    ) -> tuple[Float[Tensor, "M E"], Float[Tensor, " M"]]:
        assert past.nodes is not None
        made = leaves[layout.number >= past.number[layout.document]]
        none = past.nodes.new_zeros(len(past.nodes), leaves.shape[1])
        pyramid = self._pyramid(layout, past)
        assert isinstance(pyramid, CarriedPyramid)
        nodes, numbers = [], []
        for height, level in enumerate(pyramid.levels):
            carried = past.nodes[:, height] if height < past.nodes.shape[1] else none
            nodes.append(torch.cat((carried, made))[level.nodes])
            numbers.append((level.block.double() + 0.5) * 2.0**height - 0.5)
            made = self._merge(attention, nodes[-1][level.left], nodes[-1][level.right], level.left >= 0)
        return torch.cat(nodes), torch.cat(numbers)

    @staticmethod
    def _merge(attention: SMIAttention, left: Tensor, right: Tensor, paired: Tensor) -> Tensor:
        merged: Tensor = attention.state_norm(
            attention.state_aggregator(left[:, None], right[:, None], paired[:, None])
        )
        return merged[:, 0]

    def of(self, layout: SegmentLayout, causal: bool, past: SegmentCache | None = None) -> Reach:
        """Say which nodes cover the rest of the document for each segment."""
        reach: Reach = layout.memo(
            ("pyramid nodes", causal), lambda: PyramidNodes(layout, causal, self._pyramid(layout, past))
        )
        return reach

    @staticmethod
    def _pyramid(layout: SegmentLayout, past: SegmentCache | None) -> StatePyramid | CarriedPyramid:
        def make() -> StatePyramid | CarriedPyramid:
            if past is None:
                return StatePyramid.of(layout)
            assert layout.before is not None
            return CarriedPyramid.of(past.number, layout.before + layout.counts - past.number)

        pyramid: StatePyramid | CarriedPyramid = layout.memo("pyramid", make)
        return pyramid

    def keep(self, cache: SegmentCache, reach: Reach, vectors: Float[Tensor, "V E"], keys: Keys) -> None:
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
        return [[READ if number >> level & 1 else UNREAD for level in levels] for number in layout.told_numbers]

    def finish(
        self, attention: SMIAttention, cache: SegmentCache, layout: StepLayout, pooled: Float[Tensor, "B E"]
    ) -> None:
        """Count up in binary: a left node waits in its level, a right one merges with it and goes up."""
        node, level, done = attention.state_norm(pooled), 0, layout.ends
        place = cache.number.double()
        while done.any:
            waits = done.where([(number >> level) % 2 == 0 for number in layout.numbers])
            if waits.any:
                columns = Columns([level] * len(node), waits)
                cache.write_state(columns, *attention.project_states(node, place), node)
            done = done.where([(number >> level) % 2 == 1 for number in layout.numbers])
            if done.any:
                assert cache.nodes is not None
                node = self._merge(attention, cache.nodes[:, level], node, done.mask)
                place = place - 2.0 ** (level - 1)
            level += 1
