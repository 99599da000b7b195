"""What one causal SMI layer keeps while it decodes: its window of keys and values, and the states of finished segments.

Letters: B documents, W = (1 + neighbours)*L tokens of a full window (fewer slots are held until it fills), C room for
states, H heads, D head width, E width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from simmim.nn.state_pooling import StatePooling
from simmim.ops.segments import SegmentLayout

__all__ = ["SegmentCache"]

ROOM = 16
"""Room for tokens and for states grows by doubling from here."""


@dataclass
class SegmentCache:
    """Holds a causal layer's past, each document at its own position.

    That is O(L + S) numbers a channel, or O(L + log S) with a pyramid of states.

    The window is a ring: the token at position u lies in slot u mod W. Because W is exactly the segments that a token
    may read, a slot is current if and only if its position is not before the first of these segments.

    Attributes:
        segment_length: L.
        neighbours: whole segments before the own one that a token reads.
        origin: position of a document's first token.
        position: ``[B]`` position u of each document's next token.
        slot_position: ``[B, W]`` position of the token in each slot, -1 for none.
        keys, values: ``[B, W, H, D]``.
        state_keys, state_values: ``[B, C, H, D]`` of the finished segments 0..C-1, or of one pyramid node a level
            (None: states are not read).
        nodes: ``[B, C, E]`` these pyramid nodes, to be merged further.
        pooled, weight: ``[B, E]`` and ``[B]`` the state of the segment under way.
        message: ``[B, E]`` what the states tell the segment under way (broadcast reads only).
        seen: tokens passed so far, padding included: the ``N`` of the tokens that came in.
    """

    segment_length: int
    neighbours: int
    origin: int
    position: Int[Tensor, " B"]
    slot_position: Int[Tensor, "B W"]
    keys: Float[Tensor, "B W H D"]
    values: Float[Tensor, "B W H D"]
    state_keys: Float[Tensor, "B C H D"] | None = None
    state_values: Float[Tensor, "B C H D"] | None = None
    nodes: Float[Tensor, "B C E"] | None = None
    pooled: Float[Tensor, "B E"] | None = None
    weight: Float[Tensor, " B"] | None = None
    message: Float[Tensor, "B E"] | None = None
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
        window = (1 + neighbours) * segment_length
        place = layout.lengths + layout.origin
        before = torch.zeros_like(place) if layout.before is None else layout.before
        next_position = place + before * segment_length
        needed = int(next_position.max()) + 1 if next_position.numel() else 0
        slots = torch.arange(min(window, -(-needed // ROOM) * ROOM), device=keys.device)
        last = next_position[:, None] - 1
        # The newest position that falls on each slot, if its token is here.
        position = last - (last - slots) % window
        length = layout.segment_length
        place = position - (before * segment_length)[:, None]
        held = (place >= 0) & (place < layout.counts[:, None] * length)
        flat = (layout.first[:, None] * length + place).masked_fill(~held, 0)
        held = held & layout.held.flatten()[flat] if layout.segments else held

        def take(segments: Tensor) -> Tensor:
            if not segments.numel():
                return segments.new_zeros(*flat.shape, *segments.shape[2:])
            chosen = segments.flatten(0, 1).index_select(0, flat.flatten()).view(*flat.shape, *segments.shape[2:])
            return chosen.masked_fill(~held[..., None, None], 0)

        return cls(
            segment_length=segment_length,
            neighbours=neighbours,
            origin=origin,
            position=next_position,
            slot_position=torch.where(held, position, torch.full_like(position, -1)),
            keys=take(keys),
            values=take(values),
            seen=layout.tokens,
        )

    def keep_pooled(self, layout: SegmentLayout, pooled: tuple[Float[Tensor, "S E"], Float[Tensor, " S"]]) -> None:
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
    def begins(self) -> Bool[Tensor, " B"]:
        """Which documents' next token is the first of a segment."""
        return (self.position % self.segment_length == 0) | (self.position == self.origin)

    def readable_window(self) -> Bool[Tensor, "B W"]:
        """Return which window slots the next token may read."""
        start = (self.number - self.neighbours) * self.segment_length
        return (self.slot_position >= 0) & (self.slot_position >= start[:, None])

    def layout(self, tokens: int, attention_mask: Bool[Tensor, "B N"] | None = None) -> SegmentLayout:
        """Lay out the next tokens, together with the segments that they read in full."""
        if attention_mask is None:
            attention_mask = torch.ones(len(self.position), tokens, dtype=torch.bool, device=self.position.device)
        return SegmentLayout.continued(
            self.position, self.slot_position, attention_mask, self.segment_length, self.neighbours
        )

    def put_before(
        self, layout: SegmentLayout, keys: tuple[Float[Tensor, "S L H D"], Float[Tensor, "S L H D"]]
    ) -> tuple[Float[Tensor, "S L H D"], Float[Tensor, "S L H D"]]:
        """Put the keys and values that are kept into the slots of such a layout that stand before the new ones."""
        slot, document, kept = layout.memo("kept slots", lambda: layout.kept_slots(self.slot_position, self.window))

        def put(new: Tensor, old: Tensor) -> Tensor:
            return new.flatten(0, 1).index_put((slot,), old[document, kept].to(new.dtype)).view_as(new)

        return put(keys[0], self.keys), put(keys[1], self.values)

    def pool(
        self, pooling: StatePooling, layout: SegmentLayout, pooled: tuple[Float[Tensor, "S E"], Float[Tensor, " S"]]
    ) -> tuple[Float[Tensor, "S E"], Float[Tensor, " S"]]:
        """Add the tokens that have been pooled to the state of the segment under way."""
        assert self.pooled is not None and self.weight is not None
        more = pooled[0].to(self.pooled.dtype), pooled[1]
        joined = pooling.merge((self.pooled[layout.document], self.weight[layout.document]), more)
        goes_on = self.goes_on(layout)
        state = torch.where(goes_on[:, None], joined[0].to(pooled[0].dtype), pooled[0])
        return state, torch.where(goes_on, joined[1], pooled[1])

    def goes_on(self, layout: SegmentLayout) -> Bool[Tensor, " S"]:
        """Return which segments of such a layout are the one under way."""
        return (layout.number == self.number[layout.document]) & ~self.begins[layout.document]

    def add_token(self, pooling: StatePooling, token: Float[Tensor, "B E"], real: Bool[Tensor, " B"]) -> None:
        """Add the next token to the state of its segment where ``real`` is true."""
        assert self.pooled is not None and self.weight is not None
        pooled = self.pooled.masked_fill(self.begins[:, None], 0)
        weight = self.weight.masked_fill(self.begins, pooling.empty)
        more = pooling(token[:, None].to(pooled.dtype), torch.ones_like(real)[:, None])
        new_pooled, new_weight = pooling.merge((pooled, weight), more)
        self.pooled = torch.where(real[:, None], new_pooled, self.pooled)
        self.weight = torch.where(real, new_weight, self.weight)

    def write_token(self, k: Float[Tensor, "B H D"], v: Float[Tensor, "B H D"], real: Bool[Tensor, " B"]) -> None:
        """Put the next token of each document where ``real`` is true into its slot."""
        slot = self.position % self.window
        row = torch.arange(len(slot), device=slot.device)
        room = self.slot_position.shape[1]
        if room < self.window and int(slot.max()) >= room:
            more = min(self.window, max(2 * room, ROOM)) - room
            self.slot_position = F.pad(self.slot_position, (0, more), value=-1)
            self.keys, self.values = (F.pad(kept, (0, 0, 0, 0, 0, more)) for kept in (self.keys, self.values))
        self.keys = _put(self.keys, row, slot, torch.where(real[:, None, None], k, self.keys[row, slot]))
        self.values = _put(self.values, row, slot, torch.where(real[:, None, None], v, self.values[row, slot]))
        kept = torch.where(real, self.position, self.slot_position[row, slot])
        self.slot_position = _put(self.slot_position, row, slot, kept)

    def write_state(
        self,
        column: Int[Tensor, " B"],
        k: Float[Tensor, "B H D"],
        v: Float[Tensor, "B H D"],
        real: Bool[Tensor, " B"],
        node: Float[Tensor, "B E"] | None = None,
    ) -> None:
        """Put a state, and the node that it is of, into its column where ``real``, making room if there is none."""
        assert self.state_keys is not None and self.state_values is not None
        room = self.state_keys.shape[1]
        needed = int(column.masked_fill(~real, -1).max()) + 1
        if needed > room:
            # A new level of a pyramid comes alone; a new segment is followed by many.
            more = needed - room if node is not None else max(needed, 2 * room, ROOM) - room
            grow = self.state_keys.new_zeros(len(column), more, *self.state_keys.shape[2:])
            self.state_keys = torch.cat((self.state_keys, grow), dim=1)
            self.state_values = torch.cat((self.state_values, grow), dim=1)
            if self.nodes is not None:
                self.nodes = F.pad(self.nodes, (0, 0, 0, more))
        row = torch.arange(len(column), device=column.device)[real]
        self.state_keys = _put(self.state_keys, row, column[real], k[real])
        self.state_values = _put(self.state_values, row, column[real], v[real])
        if node is not None:
            assert self.nodes is not None
            self.nodes = _put(self.nodes, row, column[real], node[real])

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
        first = ((number - self.neighbours) * length).clamp(min=self.origin)
        if bool(((first < position) & (first < self.position - self.window)).any()):
            raise ValueError(
                f"crop: cannot forget {tokens} tokens: what the tokens before them read has been overwritten; "
                "keep a copy (copy.deepcopy) before generating, or encode the shorter text again"
            )
        whole = (position % length == 0) | (position == self.origin) | (position == self.position)
        if self.pooled is not None and not bool(whole.all()):
            raise ValueError(
                f"crop: cannot forget {tokens} tokens: the state of the segment under way has summed them, and only "
                "whole segments can be taken back; keep a copy (copy.deepcopy), or encode the shorter text again"
            )
        if self.nodes is not None and bool((number < self.number).any()):
            raise ValueError(
                f"crop: cannot forget {tokens} tokens: the pyramid has merged their segments; "
                "keep a copy (copy.deepcopy) before generating, or encode the shorter text again"
            )
        self.slot_position = self.slot_position.masked_fill(self.slot_position >= position[:, None], -1)
        self.position = position
        self.seen -= tokens

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


def _put(tensor: Tensor, row: Tensor, column: Tensor, new: Tensor) -> Tensor:
    """Write into a tensor, in place unless a gradient may have to flow through what it held."""
    return tensor.index_put((row, column), new) if torch.is_grad_enabled() else tensor.index_put_((row, column), new)
