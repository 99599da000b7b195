"""Hierarchical encoding: segments merged in pairs, level by level, into one representation (source §3.2, §4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from simmim.errors import ShapeError
from simmim.nn.aggregators import AGGREGATORS
from simmim.ops.pyramid import pair_up

__all__ = ["HierarchicalEncoder", "Level", "Pyramid"]


@dataclass(frozen=True, eq=False)
class Level:
    """One level of the pyramids of a batch.

    Attributes:
        nodes: ``[S, L, E]`` of all documents, one document after the other; zero where ``mask`` is false.
        mask: ``[S, L]`` true where a node has a vector.
        counts: ``[B]`` nodes of each document.
    """

    nodes: Float[Tensor, "S L E"]
    mask: Bool[Tensor, "S L"]
    counts: Int[Tensor, " B"]


@dataclass(frozen=True, eq=False)
class Pyramid:
    """The levels of a batch, and what stands at the top.

    Attributes:
        levels: from the segments to the level at which every document has one node.
        global_representation: ``[B, L, E]``, zero where ``global_mask`` is false and for a document without tokens.
        global_mask: ``[B, L]``.
        pooled: ``[B, E]`` the mean over the positions of the global representation.
    """

    levels: tuple[Level, ...]
    global_representation: Float[Tensor, "B L E"]
    global_mask: Bool[Tensor, "B L"]
    pooled: Float[Tensor, "B E"]


class HierarchicalEncoder(nn.Module):
    """Merges neighbouring segments in pairs until every document has one node.

    The same aggregator serves every level, so documents of any length work. A node without a partner, and a position
    that only the left node has, are carried up unchanged; nodes of padding do not exist. Cost: S - 1 aggregations.

    Args:
        hidden_size: E.
        aggregator: a name in ``AGGREGATORS``: ``concat`` or ``weighted_sum``.

    Raises:
        ConfigError: nothing is registered under the aggregator's name.
    """

    def __init__(self, hidden_size: int, aggregator: str = "concat") -> None:
        super().__init__()
        self.aggregator = AGGREGATORS.find(aggregator)(hidden_size)

    def forward(
        self, segments: Float[Tensor, "S L E"], mask: Bool[Tensor, "S L"], counts: Int[Tensor, " B"]
    ) -> Pyramid:
        """Build the pyramids of a batch.

        Args:
            segments: ``[S, L, E]`` the segments of all documents, one document after the other.
            mask: ``[S, L]`` true where a slot holds a token; a document's segments are full but for its last.
            counts: ``[B]`` segments of each document.

        Raises:
            ShapeError: counts do not add up to S.
        """
        if int(counts.sum()) != len(segments) or tuple(mask.shape) != tuple(segments.shape[:2]):
            raise ShapeError(
                f"segments, mask, counts: expected [S, L, E], [S, L] and counts that add up to S; got "
                f"{list(segments.shape)}, {list(mask.shape)} and counts that add up to {int(counts.sum())}"
            )
        level = Level(segments.masked_fill(~mask[..., None], 0), mask, counts)
        levels = [level]
        while counts.numel() and int(level.counts.max()) > 1:
            level = self._merge(level)
            levels.append(level)
        top = segments.new_zeros(len(counts), *segments.shape[1:])
        top_mask = mask.new_zeros(len(counts), mask.shape[1])
        has_node = level.counts > 0
        top[has_node] = level.nodes
        top_mask[has_node] = level.mask
        size = top_mask.sum(1).clamp(min=1).to(top.dtype)
        return Pyramid(tuple(levels), top, top_mask, top.sum(1) / size[:, None])

    def _merge(self, below: Level) -> Level:
        pairs = pair_up(below.counts)
        left = below.nodes[pairs.left]
        meets = below.mask[pairs.right] & pairs.paired[:, None]
        merged = self.aggregator(left, below.nodes[pairs.right])
        return Level(merged.where(meets[..., None], left), below.mask[pairs.left], pairs.counts)
