"""What one causal SMI layer keeps while it decodes: its window of keys and values, and the states of finished segments.

Letters: B documents, S segments of a layout, L segment length, W = (1 + neighbours)*L tokens of a full window, K slots
(of the window, fewer than W until it fills, and after them columns for states), H heads, D head width, E width.

    keys [B, H, K, D]:   | slot 0 ... slot capacity-1 | state 0, state 1, ..., zeros for states to come |
                           a ring: position u in u % W   of finished segments 0, 1, ..., or a node a level

How the ring is read is described in ``simmim.ops.steps``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from simmim.errors import ShapeError
from simmim.ops.layout import SegmentLayout
from simmim.ops.steps import BatchColumns, StepLayout

__all__ = ["SegmentCache"]

LEAST = 16
"""Least capacity for tokens and for states. That for tokens doubles until the window is full."""
SPARE = 8
"""Capacity for states grows by one in so many, so that little is kept in vain and growing costs little."""

SegmentKeys = tuple[Float[Tensor, "S L H D"], Float[Tensor, "S L H D"]]
Pooled = tuple[Float[Tensor, "S E"], Float[Tensor, " S"]]


@dataclass
class SegmentCache:
    """Holds a causal layer's past, each document at its own position.

    That is O(L + S) numbers a channel, or O(L + log S) with a pyramid of states. Because W is exactly the segments that
    a token may read, a document's position alone says which slots of the window are current. Tokens and states are in
    one tensor, as attention reads them.

    Attributes:
        segment_length: L.
        neighbours: whole segments before the own one that a token reads.
        origin: position of a document's first token.
        position: ``[B]`` position u of each document's next token.
        capacity: slots of the window among the K.
        keys, values: ``[B, H, K, D]`` of the window's tokens, then of states: of the finished segments 0, 1, ..., or of
            one pyramid node a level.
        nodes: ``[B, C, E]`` these pyramid nodes, to be merged further.
        pooled, weight: ``[B, E]`` and ``[B]`` the state of the segment under way (None: states are not read).
        message: ``[B, E]`` what the states tell the segment under way (broadcast reads only).
        intact: ``[B]`` position from which on a cropped window is whole (None: it was never cropped).
        seen: tokens passed so far, padding included: the ``N`` of the tokens that came in.
    """

    segment_length: int
    neighbours: int
    origin: int
    position: Int[Tensor, " B"]
    capacity: int
    keys: Float[Tensor, "B H K D"]
    values: Float[Tensor, "B H K D"]
    nodes: Float[Tensor, "B C E"] | None = None
    pooled: Float[Tensor, "B E"] | None = None
    weight: Float[Tensor, " B"] | None = None
    message: Float[Tensor, "B E"] | None = None
    intact: Int[Tensor, " B"] | None = None
    seen: int = 0

    @classmethod
    def from_segments(
        cls,
        layout: SegmentLayout,
        keys: Float[Tensor, "S L H D"],
        values: Float[Tensor, "S L H D"],
        *,
        segment_length: int,
        neighbours: int,
        origin: int,
    ) -> SegmentCache:
        """Keep the window of every document of a parallel pass."""
        next_position, flat, valid = layout.window_slots((1 + neighbours) * segment_length, LEAST)

        def take(segments: Tensor) -> Tensor:
            if not segments.numel():
                chosen = segments.new_zeros(*flat.shape, *segments.shape[2:])
            else:
                chosen = segments.flatten(0, 1).index_select(0, flat.flatten()).view(*flat.shape, *segments.shape[2:])
            return chosen.masked_fill(~valid[..., None, None], 0).transpose(1, 2).contiguous()

        return cls(
            segment_length=segment_length,
            neighbours=neighbours,
            origin=origin,
            position=next_position,
            capacity=flat.shape[1],
            keys=take(keys),
            values=take(values),
            seen=layout.tokens,
        )

    def set_pooled(self, layout: SegmentLayout, pooled: Pooled) -> None:
        """Keep the state of every document's last segment, which goes on being pooled if it is not finished."""
        self.pooled = self.last_of(layout, pooled[0])
        # Running means are kept in float32: a long segment's count is not a bfloat16 number.
        self.pooled = self.pooled.to(torch.promote_types(self.pooled.dtype, torch.float32))
        self.weight = self.last_of(layout, pooled[1])

    @staticmethod
    def last_of(layout: SegmentLayout, rows: Shaped[Tensor, "S *E"]) -> Shaped[Tensor, "B *E"]:
        """Return each document's last segment's row, zero for a document without tokens."""
        padded = torch.cat((rows, rows.new_zeros(1, *rows.shape[1:])))
        last = torch.where(layout.counts > 0, layout.first + layout.counts - 1, layout.segments)
        return padded.index_select(0, last)

    @property
    def window(self) -> int:
        """W."""
        return (1 + self.neighbours) * self.segment_length

    @property
    def number(self) -> Int[Tensor, " B"]:
        """Number of the segment of each document's next token."""
        return self.position // self.segment_length

    @property
    def states(self) -> tuple[Float[Tensor, "B H C D"], Float[Tensor, "B H C D"]]:
        """Keys and values of the states, and of the columns for more."""
        return self.keys[:, :, self.capacity :], self.values[:, :, self.capacity :]

    def add_states(self, keys: Float[Tensor, "B C H D"], values: Float[Tensor, "B C H D"]) -> None:
        """Put the first states behind the window."""
        self.keys = torch.cat((self.keys, keys.transpose(1, 2)), dim=2)
        self.values = torch.cat((self.values, values.transpose(1, 2)), dim=2)

    def check_batch(self, documents: int, name: str = "past") -> None:
        """Raise a ``ShapeError``, about the argument of this name, if the batch sizes of cache and input differ."""
        if documents != len(self.position):
            raise ShapeError(
                f"{name}: expected the cache of {documents} documents, as many as the new tokens are of, got one of "
                f"{len(self.position)}; repeat or choose its documents (batch_repeat_interleave, batch_select_indices)"
            )

    def layout(self, tokens: int, attention_mask: Bool[Tensor, "B N"] | None = None) -> SegmentLayout | StepLayout:
        """Lay out the next tokens: one of each document, or several with the segments that they read in full."""
        if tokens == 1:
            return StepLayout.build(self.position, attention_mask, self.segment_length, self.neighbours, self.origin)
        if attention_mask is None:
            attention_mask = torch.ones(len(self.position), tokens, dtype=torch.bool, device=self.position.device)
        return SegmentLayout.continued(self.position, self.origin, attention_mask, self.segment_length, self.neighbours)

    def fill_slots(self, layout: SegmentLayout, keys: SegmentKeys) -> SegmentKeys:
        """Copy cached keys and values into the slots of such a layout that come before the new ones."""
        slot, document, position = layout.memo("cached slots", lambda: layout.cached_slots(self.origin))

        def fill(new: Tensor, cached: Tensor) -> Tensor:
            found = cached.transpose(1, 2)[document, position % self.window]
            return new.flatten(0, 1).index_put((slot,), found.to(new.dtype)).view_as(new)

        return fill(keys[0], self.keys), fill(keys[1], self.values)

    def pool(self, merge: Callable[[Pooled, Pooled], Pooled], layout: SegmentLayout, pooled: Pooled) -> Pooled:
        """Add tokens that have been pooled to the state of the segment under way; ``merge`` is the pooling's."""
        assert self.pooled is not None and self.weight is not None
        more = pooled[0].to(self.pooled.dtype), pooled[1]
        joined = merge((self.pooled[layout.document], self.weight[layout.document]), more)
        goes_on = self.goes_on(layout)
        state = torch.where(goes_on[:, None], joined[0].to(pooled[0].dtype), pooled[0])
        return state, torch.where(goes_on, joined[1], pooled[1])

    def goes_on(self, layout: SegmentLayout) -> Bool[Tensor, " S"]:
        """Return which segments of such a layout are the one under way."""
        # Where the next token is the first of its segment, no segment is under way.
        begins = (self.position % self.segment_length == 0) | (self.position == self.origin)
        return (layout.number == self.number[layout.document]) & ~begins[layout.document]

    def add_token(
        self, add: Callable[..., Pooled], empty: float, token: Float[Tensor, "B E"], layout: StepLayout
    ) -> None:
        """Add the next token to the state of its segment; ``add`` and ``empty`` are the pooling's."""
        assert self.pooled is not None and self.weight is not None
        pooled, weight = self.pooled, self.weight
        if layout.begins.any:
            pooled, weight = layout.begins.fill(pooled, 0.0), layout.begins.fill(weight, empty)
        pooled, weight = add((pooled, weight), token.to(pooled.dtype), layout)
        self.pooled = layout.real.choose(pooled, self.pooled)
        self.weight = layout.real.choose(weight, self.weight)

    def write_token(self, layout: StepLayout, k: Float[Tensor, "B H D"], v: Float[Tensor, "B H D"]) -> None:
        """Put the next token of each document into its slot."""
        if layout.slots.needed > self.capacity:
            self._grow(min(self.window, max(layout.slots.needed, 2 * self.capacity, LEAST)) - self.capacity, 0)
        self.keys, self.values = layout.slots.write(self.keys, k), layout.slots.write(self.values, v)

    def write_state(
        self,
        columns: BatchColumns,
        k: Float[Tensor, "B H D"],
        v: Float[Tensor, "B H D"],
        node: Float[Tensor, "B E"] | None = None,
    ) -> None:
        """Put states, and the nodes that they are of, into their columns, which are added if they are missing."""
        present = self.keys.shape[2] - self.capacity
        if columns.needed > present:
            # A new level of a pyramid comes alone; a new segment is followed by many.
            spare = 0 if node is not None else max(LEAST, present // SPARE)
            self._grow(0, max(columns.needed, present + spare) - present)
        behind = BatchColumns([self.capacity + column for column in columns.columns], columns.documents)
        self.keys, self.values = behind.write(self.keys, k), behind.write(self.values, v)
        if node is not None:
            assert self.nodes is not None
            self.nodes = columns.write(self.nodes, node)

    def _grow(self, tokens: int, states: int) -> None:
        """Add slots to the window and columns to the states.

        A window that grows is not full yet, so positions are their own slots (u % W = u) and none has to move.
        """

        def grow(stored: Tensor) -> Tensor:
            window, behind = stored[:, :, : self.capacity], stored[:, :, self.capacity :]
            return torch.cat((F.pad(window, (0, 0, 0, tokens)), F.pad(behind, (0, 0, 0, states))), dim=2)

        self.keys, self.values = grow(self.keys), grow(self.values)
        self.capacity += tokens
        if self.nodes is not None:
            self.nodes = F.pad(self.nodes, (0, 0, 0, states))

    def crop(self, tokens: int) -> None:
        """Forget the last tokens of every document, where what is left is still here.

        That is so for tokens of the segment under way if it is forgotten whole, or if states are not read. What the
        window overwrote, and a state that has summed too many tokens, are gone.

        Args:
            tokens: how many, 0 or more.

        Raises:
            ValueError: it cannot be done; the cache is unchanged.
        """
        position = self.position - tokens
        if tokens < 0 or bool((position < self.origin).any()):
            shortest = int((self.position - self.origin).min())
            raise ValueError(f"crop: expected 0 to {shortest} tokens, the shortest document's, got {tokens}")
        number, length = position // self.segment_length, self.segment_length
        # What is left reads from ``first`` on; the ring holds the last W positions, fewer after an earlier crop.
        first = ((number - self.neighbours) * length).clamp(min=self.origin)
        intact = self.position - self.window
        if self.intact is not None:
            intact = torch.maximum(intact, self.intact)
        if bool(((first < position) & (first < intact)).any()):
            raise _cannot_crop(tokens, "what the tokens before them read has been overwritten")
        whole = (position % length == 0) | (position == self.origin) | (position == self.position)
        if self.pooled is not None and not bool(whole.all()):
            raise ValueError(
                f"crop: cannot forget {tokens} tokens: the state of the segment under way has summed them, and only "
                "whole segments can be taken back; keep a copy (copy.deepcopy), or encode the shorter text again"
            )
        if self.nodes is not None and bool((number < self.number).any()):
            raise _cannot_crop(tokens, "the pyramid has merged their segments")
        self.position, self.intact = position, intact
        self.seen -= tokens

    def compact(self) -> SegmentCache:
        """Return the cache without columns for states to come."""
        if self.pooled is None or self.nodes is not None:
            return self
        end = self.capacity + (int(self.number.max()) if len(self.position) else 0)
        return dataclasses.replace(self, keys=self.keys[:, :, :end], values=self.values[:, :, :end])

    def select(self, index: Int[Tensor, " K"]) -> None:
        """Keep (and repeat, and reorder) the documents of these numbers, as beam search does."""
        self._map(lambda tensor: tensor.index_select(0, index.to(tensor.device)))

    def to(self, device: torch.device | str) -> SegmentCache:
        """Move everything to a device; return the cache itself, with which accelerate, which moves inputs, goes on."""
        self._map(lambda tensor: tensor.to(device))
        return self

    def _map(self, function: Callable[[Tensor], Tensor]) -> None:
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, function(value))


def _cannot_crop(tokens: int, why: str) -> ValueError:
    return ValueError(
        f"crop: cannot forget {tokens} tokens: {why}; "
        "keep a copy (copy.deepcopy) before generating, or encode the shorter text again"
    )
