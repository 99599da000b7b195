"""Where every token of a batch of documents is while segments are attended to, and how tokens get there and back.

Letters: B documents, N tokens, L segment length, S segments *of all documents together*, S_max segments of the longest
document, E width of a vector, H heads, D head width.

A batch comes as ``[B, N, E]`` with padding anywhere, or as documents packed one after the other, ``[1, N, E]``. What
attention works on is ``[S, L, E]``: a row for each segment, a slot for each token, documents of different lengths below
each other (*ragged*: no row is wasted on a document that ends early). A token has three coordinates:

    number t     in its document, from 0. Padding has none, so where it stands makes no difference.
    position u   t + origin. The origin is 0, or L - shift where borders are shifted by ``segment_shift`` tokens.
    slot         segment u // L of its document, there slot u % L; flat: (first row of the document)*L + u

    B = 2, L = 4, documents of 6 and 3 tokens, no shift                 rows (S = 3)       document  rank
    a0 a1 a2 a3 a4 a5        b0 b1 b2 padding padding padding           a0 a1 a2 a3            0       0
                                                                        a4 a5  .  .            0       1
                                                                        b0 b1 b2  .            1       0

A segment exists only if it holds a token. While decoding goes on, segments of earlier calls have no row any more
(``segment_offset`` counts them), and slots of the segments still read in full are filled from the cache (``cached``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from simmim.errors import ShapeError
from simmim.ops.segments import Segments

__all__ = ["EverySegment", "Neighbour", "Reach", "SegmentLayout", "check_tokens"]

Neighbour = tuple[Int[Tensor, " S"], Bool[Tensor, " S"]]
"""For each segment the row of another one, and whether there is one."""


@dataclass(frozen=True, eq=False)
class SegmentLayout(Segments):
    """Moves tokens to their slots and back, and says which segments and states each segment may read."""

    _memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def valid(self) -> Bool[Tensor, "S L"]:
        """True where a slot holds a token, new or cached."""
        return self.mask if self.cached is None else self.mask | self.cached

    @property
    def positions(self) -> Int[Tensor, "S L"]:
        """Position u of every slot in its document."""
        return self.number[:, None] * self.segment_length + torch.arange(self.segment_length, device=self.rank.device)

    def to_segments(self, tokens: Shaped[Tensor, "R N *E"]) -> Shaped[Tensor, "S L *E"]:
        """Copy each token to its slot; empty slots are zero, whatever stands in the padding."""
        rest = tokens.shape[2:]
        if self.slot_of_token is None:
            right_padding = self.max_segments * self.segment_length - self.tokens - self.left_padding
            if self.left_padding or right_padding:
                tokens = F.pad(tokens, (0, 0) * len(rest) + (self.left_padding, right_padding))
            return tokens.reshape(self.segments, self.segment_length, *rest)
        flat = tokens.reshape(self.batch * self.tokens, *rest)
        # One row of zeros more is what empty slots take.
        flat = torch.cat((flat, flat.new_zeros(1, *rest)))
        token_of_slot = self.memo("token of slot", self._token_of_slot)
        return flat.index_select(0, token_of_slot).view(self.segments, self.segment_length, *rest)

    def to_tokens(self, segments: Shaped[Tensor, "S L *E"]) -> Shaped[Tensor, "R N *E"]:
        """Copy each slot back to its token; padding is zero."""
        rest = segments.shape[2:]
        if self.slot_of_token is None:
            rows = segments.reshape(self.batch, self.max_segments * self.segment_length, *rest)
            return rows[:, self.left_padding : self.left_padding + self.tokens]
        flat = segments.reshape(self.segments * self.segment_length, *rest)
        # One row of zeros more, number S*L, is what padding takes.
        flat = torch.cat((flat, flat.new_zeros(1, *rest)))
        return flat.index_select(0, self.slot_of_token).view(self.batch, self.tokens, *rest)

    def _token_of_slot(self) -> Int[Tensor, " slots"]:
        """Return the flat token of each slot, B*N for an empty one."""
        assert self.slot_of_token is not None
        size = self.batch * self.tokens
        index = torch.full((self.segments * self.segment_length + 1,), size, device=self.rank.device)
        # All padding writes into the last slot, whichever of it comes last, and the slot is dropped.
        index = index.scatter(0, self.slot_of_token, torch.arange(size, device=self.rank.device))
        return index[:-1].masked_fill(~self.mask.flatten(), size)

    def neighbours(self, steps: list[int]) -> list[Neighbour]:
        """Return for each step the row of the segment so many further in the same document, and whether there is one.

        Where there is none, the row is the segment's own, which is as good as any to gather what is masked.
        """
        rows, found = torch.arange(self.segments, device=self.rank.device), []
        for step in steps:
            rank = self.rank + step
            exists = (rank >= 0) & (rank < self.counts[self.document])
            found.append((torch.where(exists, rows + step, rows), exists))
        return found

    def window_slots(self, window: int, step: int) -> tuple[Int[Tensor, " B"], Int[Tensor, "B K"], Bool[Tensor, "B K"]]:
        """Return where the tokens are that a ring of the last positions holds: position u in its slot u % window.

        Args:
            window: slots of a full ring.
            step: a ring of documents that do not fill it has the next multiple of so many slots.

        Returns:
            The position of each document's next token, and for every slot of the ring the flat slot here, and whether
            there is a token.
        """
        length = self.segment_length
        offset = torch.zeros_like(self.counts) if self.segment_offset is None else self.segment_offset
        next_position = self.lengths + self.origin + offset * length
        needed = int(next_position.max()) + 1 if next_position.numel() else 0
        ring = torch.arange(min(window, -(-needed // step) * step), device=self.rank.device)
        # Of the positions u with u % window = slot, the newest up to that of the last token.
        last = next_position[:, None] - 1
        position = last - (last - ring) % window
        # The same counted from the document's first row here: it may be before that row, or hold no token.
        slot = position - (offset * length)[:, None]
        valid = (slot >= 0) & (slot < self.counts[:, None] * length)
        flat = (self.first[:, None] * length + slot).masked_fill(~valid, 0)
        return next_position, flat, valid & self.valid.flatten()[flat] if self.segments else valid

    @property
    def table(self) -> Int[Tensor, "B S_max"]:
        """Rows of each document's segments, side by side; row 0 stands in where a document has fewer."""
        column = torch.arange(self.max_segments, device=self.rank.device)
        rows = self.first[:, None] + column
        return torch.where(column < self.counts[:, None], rows, torch.zeros_like(rows))

    def by_document(self, states: Shaped[Tensor, "S *E"]) -> Shaped[Tensor, "B S_max *E"]:
        """Put each document's segment states side by side, as ``table`` says."""
        return states.index_select(0, self.table.flatten()).view(*self.table.shape, *states.shape[1:])

    def readable(self, causal: bool) -> Bool[Tensor, "S S_max"]:
        """True where a segment may read the state of its document's j-th segment: j != i, or j < i if causal."""
        column = torch.arange(self.longest, device=self.rank.device)
        if causal:
            return column < self.number[:, None]
        return (column < self.counts[self.document][:, None]) & (column != self.rank[:, None])

    def memo(self, key: Any, make: Callable[..., Any], *arguments: Any) -> Any:
        """Return what was made for this key, making it once: layers of one pass share a layout and its tables."""
        if key not in self._memo:
            self._memo[key] = make(*arguments)
        return self._memo[key]


def check_tokens(hidden_states: Tensor, width: int, layout: SegmentLayout | None) -> None:
    """Refuse tokens of another shape than ``[B, N, E]``, or than those of the layout that comes with them.

    Raises:
        ShapeError: the shape is another.
    """
    if hidden_states.dim() != 3 or hidden_states.shape[-1] != width:
        raise ShapeError(f"hidden_states: expected [batch, tokens, {width}], got {list(hidden_states.shape)}")
    shape = hidden_states.shape[0], hidden_states.shape[1]
    if layout is not None and (layout.batch, layout.tokens) != shape:
        raise ShapeError(
            f"layout: expected one for [{shape[0]}, {shape[1]}] tokens, got one for [{layout.batch}, {layout.tokens}]"
        )


class Reach(ABC):
    """Says for every segment which states it reads: C of the Z there are; ``mask [S, C]`` is true where one exists.

    States are handed to attention as ``arrange`` puts them: in U rows, of which every segment reads those that ``row``
    names (``simmim.ops.attention.Piece``).
    """

    mask: Bool[Tensor, "S C"]
    row: Int[Tensor, "S *C"]

    @property
    def count(self) -> Int[Tensor, " S"]:
        """How many states each segment reads."""
        return self.mask.sum(1)

    @abstractmethod
    def arrange(self, states: Float[Tensor, "Z H D"]) -> Float[Tensor, "U _ H D"]:
        """Put states into rows."""

    @abstractmethod
    def scores(self, q: Float[Tensor, "S H D"], k: Float[Tensor, "Z H D"]) -> Float[Tensor, "S H C"]:
        """Return q·k of every segment's query and the keys of the states that it reads."""

    @abstractmethod
    def mix(self, weights: Float[Tensor, "S H C"], v: Float[Tensor, "Z H D"]) -> Float[Tensor, "S H D"]:
        """Return the weighted sum of the values of the states that each segment reads."""


class EverySegment(Reach):
    """The states of all other segments of the document (causal: of those before): C = S_max, column j is segment j.

    Args:
        layout: the segments.
        causal: read only what is before each segment.
        capacity: columns of a cache of states of segments laid out earlier. Its states come before the layout's own:
            those of document b, segment j, in row b*capacity + j.
    """

    def __init__(self, layout: SegmentLayout, causal: bool, capacity: int = 0) -> None:
        self.layout, self._table = layout, layout.table
        if layout.segment_offset is not None:
            offset = layout.segment_offset[:, None]
            column = torch.arange(layout.longest, device=layout.rank.device)
            cached = torch.arange(len(layout.counts), device=column.device)[:, None] * capacity + column
            # The layout's segments are numbered from the offset on, and come after all columns of the cache.
            new = len(layout.counts) * capacity + layout.first[:, None] + column - offset
            exists = column < offset + layout.counts[:, None]
            # Segments before that of the first new token are finished: their states are in the cache.
            finished = offset + layout.origin[:, None] // layout.segment_length
            self._table = torch.where(column < finished, cached, new).masked_fill(~exists, 0)
        self.mask, self.row = layout.readable(causal), layout.document
        self._row_in_table = layout.document * layout.max_segments + layout.rank

    def arrange(self, states: Float[Tensor, "Z H D"]) -> Float[Tensor, "B C H D"]:
        """Put each document's states into one row."""
        return states.index_select(0, self._table.flatten()).view(*self._table.shape, *states.shape[1:])

    def scores(self, q: Float[Tensor, "S H D"], k: Float[Tensor, "Z H D"]) -> Float[Tensor, "S H C"]:
        """Multiply document by document: one matrix product each."""
        return self._rows(torch.einsum("bihd,bjhd->bhij", self.layout.by_document(q), self.arrange(k)))

    def mix(self, weights: Float[Tensor, "S H C"], v: Float[Tensor, "Z H D"]) -> Float[Tensor, "S H D"]:
        """Multiply document by document: one matrix product each."""
        table = self.layout.by_document(weights)
        return self._rows(torch.einsum("bihj,bjhd->bhid", table, self.arrange(v)))

    def _rows(self, found: Float[Tensor, "B H I X"]) -> Float[Tensor, "S H X"]:
        """Return what was found for each segment."""
        if torch.compiler.is_exporting():  # to flatten, torch would ask how many segments there are
            return found[self.layout.document, :, self.layout.rank]
        return found.transpose(1, 2).flatten(0, 1).index_select(0, self._row_in_table)
