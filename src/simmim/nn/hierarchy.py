"""Hierarchical encoding: segments merged in pairs, level by level, into one representation (source §3.2, §4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from simmim.errors import ShapeError
from simmim.nn.aggregators import AGGREGATORS
from simmim.nn.tokenwise import chunked
from simmim.ops.pyramid import pair_up, pyramid_height
from simmim.ops.segments import first_rows

__all__ = ["HierarchicalEncoder", "Level", "Pyramid"]


@dataclass(frozen=True, eq=False)
class Level:
    """One level of the pyramids of a batch.

    Attributes:
        nodes: ``[S, L, E]`` of all documents, one document after the other; zero where ``mask`` is false.
        mask: ``[S, L]`` true where a node has a vector.
        counts: ``[B]`` nodes of each document.
        rows: rows that every document takes, those after its last node empty; None: its count.
    """

    nodes: Float[Tensor, "S L E"]
    mask: Bool[Tensor, "S L"]
    counts: Int[Tensor, " B"]
    rows: int | None

    def take(self, documents: Int[Tensor, " D"]) -> Level:
        """Return the level of these documents alone."""
        first = first_rows(self.counts, self.rows)[documents]
        counts = self.counts[documents]
        rows = counts if self.rows is None else torch.full_like(counts, self.rows)
        number = torch.arange(int(rows.sum()), device=rows.device)
        index = number + (first - rows.cumsum(0) + rows).repeat_interleave(rows)
        return Level(self.nodes[index], self.mask[index], counts, self.rows)


@dataclass(frozen=True, eq=False)
class Pyramid:
    """The levels of a batch, and what stands at the top.

    It is a pytree of tensors, so that it passes through ``torch.export`` and the like, and a sequence of documents:
    ``pyramid[b]`` is the pyramid of document b alone, a batch of one, and ``pyramid[a:b]`` that of some.

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

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, index: int | slice) -> Pyramid:
        # A range says what an index out of range is, and what a negative one means.
        chosen = range(len(self))[index]
        documents = torch.tensor([chosen] if isinstance(chosen, int) else list(chosen), dtype=torch.long)
        documents = documents.to(self.pooled.device)
        levels = [level.take(documents) for level in self.levels]
        # Without longer documents beside them, these have no more levels than they need.
        needed = sum(1 for level in levels if bool((level.counts > 1).any()))
        return Pyramid(
            tuple(levels[: needed + 1]),
            self.global_representation[documents],
            self.global_mask[documents],
            self.pooled[documents],
        )


for _kind in (Level, Pyramid):
    pytree.register_dataclass(_kind, serialized_type_name=f"{_kind.__module__}.{_kind.__qualname__}")


class HierarchicalEncoder(nn.Module):
    """Merges neighbouring segments in pairs until every document has one node.

    The same aggregator serves every level, so documents of any length work. A node without a partner, and a position
    that only the left node has, are carried up unchanged; nodes of padding do not exist. Cost: S - 1 aggregations.

    Args:
        hidden_size: E.
        aggregator: a name in ``AGGREGATORS``: ``concat``, ``weighted_sum`` or ``attention``.

    Raises:
        ConfigError: nothing is registered under the aggregator's name.
    """

    def __init__(self, hidden_size: int, aggregator: str = "concat") -> None:
        super().__init__()
        self.aggregator = AGGREGATORS.find(aggregator)(hidden_size)

    def forward(
        self,
        segments: Float[Tensor, "S L E"],
        mask: Bool[Tensor, "S L"],
        counts: Int[Tensor, " B"],
        rows: int | None = None,
    ) -> Pyramid:
        """Build the pyramids of a batch.

        Args:
            segments: ``[S, L, E]`` the segments of all documents, one document after the other.
            mask: ``[S, L]`` true where a slot holds a token; a document's segments are full but for its last.
            counts: ``[B]`` segments of each document.
            rows: rows that every document takes, where those after its last segment are empty; None: its count. With
                it no shape depends on the data, as ``torch.compile`` needs, and there are as many levels as for a
                document of so many segments.

        Raises:
            ShapeError: a shape is not as above, or counts (with rows: B·rows) do not make S.
        """
        total = int(counts.sum()) if rows is None else counts.shape[0] * rows
        if total != segments.shape[0] or tuple(mask.shape) != tuple(segments.shape[:2]):
            source = "what counts add up to" if rows is None else f"{counts.shape[0]} documents of {rows} rows"
            raise ShapeError(
                f"segments, mask: expected [S, L, E] and [S, L] with S = {total} ({source}), "
                f"got {list(segments.shape)} and {list(mask.shape)}"
            )
        level = Level(segments.masked_fill(~mask[..., None], 0), mask, counts, rows)
        levels = [level]
        highest = rows if rows is not None else (int(counts.max()) if counts.shape[0] else 0)
        for _ in range(pyramid_height(highest)):
            level = self._merge(level)
            levels.append(level)
        # A document without tokens has no top: an empty one stands in.
        nodes = torch.cat((level.nodes, segments.new_zeros(1, *segments.shape[1:])))
        valid = torch.cat((level.mask, mask.new_zeros(1, mask.shape[1])))
        first = first_rows(level.counts, level.rows).masked_fill(level.counts == 0, level.nodes.shape[0])
        top, top_mask = nodes.index_select(0, first), valid.index_select(0, first)
        size = top_mask.sum(1).clamp(min=1).to(top.dtype)
        return Pyramid(tuple(levels), top, top_mask, top.sum(1) / size[:, None])

    def _merge(self, below: Level) -> Level:
        pairs = pair_up(below.counts, below.rows)
        mask = below.mask.index_select(0, pairs.left)
        both = below.mask.index_select(0, pairs.right) & pairs.paired[:, None]
        merged = chunked(
            lambda *rows: self._merge_pairs(below.nodes, *rows),
            *(pairs.left, pairs.right, both),
            width=4 * below.nodes.shape[1:].numel(),
        )
        return Level(merged, mask, pairs.counts, pairs.rows)

    def _merge_pairs(self, nodes: Tensor, left_row: Tensor, right_row: Tensor, both: Tensor) -> Tensor:
        left, right = nodes.index_select(0, left_row), nodes.index_select(0, right_row)
        return torch.where(both[..., None], self.aggregator(left, right, both), left)
