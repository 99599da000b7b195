"""Cuts a padded batch of documents into ragged segments and puts the tokens back.

Letters: B documents, N tokens, L segment length, S segments *of all documents together*, E width of a vector.

A document's real tokens are numbered 0, 1, 2, ...; padding is not numbered, wherever it stands. With ``origin`` o,
token t has the position u = t + o, lives in its document's segment u // L and there in slot u % L. ``origin`` is 0, or
L - shift for a shifted layer, whose first segment then holds only ``shift`` tokens. A segment exists only if it holds
a token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from simmim.errors import ConfigError, ShapeError

__all__ = ["SegmentLayout", "check_attention_mask", "first_rows", "segment_origin"]


def segment_origin(segment_length: int, segment_shift: int) -> int:
    """Return the position of a document's first token: later borders then fall on multiples of the segment length."""
    if segment_length < 1:
        raise ConfigError(f"segment_length: expected a whole number of 1 or more, got {segment_length}")
    if not 0 <= segment_shift < segment_length:
        raise ConfigError(
            f"segment_shift: expected 0 <= shift < segment_length ({segment_length}), got {segment_shift}; "
            "the usual choices are 0 and half a segment"
        )
    return (segment_length - segment_shift) % segment_length


def check_attention_mask(attention_mask: Tensor, batch: int, length: int) -> Bool[Tensor, "B N"]:
    """Return the mask as booleans, or say what is wrong with it.

    Args:
        attention_mask: ``[B, N]``, true or 1 for tokens, false or 0 for padding (bool, integer or float).
        batch: B.
        length: N.

    Raises:
        ShapeError: it is not ``[B, N]``.
    """
    if tuple(attention_mask.shape) != (batch, length):
        raise ShapeError(
            f"attention_mask: expected shape [{batch}, {length}] (documents, tokens; 1 = token, 0 = padding), "
            f"got {list(attention_mask.shape)}; pass the tokenizer's two-dimensional mask, not an additive one"
        )
    return attention_mask.bool()


def first_rows(counts: Int[Tensor, " B"], rows: int | None) -> Int[Tensor, " B"]:
    """Return the row of each document's first segment or node, where all take ``rows`` rows, or each its count."""
    if rows is None:
        return counts.cumsum(0) - counts
    return torch.arange(counts.shape[0], device=counts.device) * rows


def _origins(lengths: Tensor, segment_length: int, shifted: int, causal: bool) -> Tensor:
    """Return each document's origin: a bidirectional document of at most one segment is not shifted."""
    if causal:
        return torch.full_like(lengths, shifted)
    return torch.where(lengths > segment_length, shifted, torch.zeros_like(lengths))


@dataclass(frozen=True, eq=False)
class SegmentLayout:
    """Says which token of a batch sits in which slot of which segment.

    Attributes:
        batch, tokens: B and N of the token tensors that it maps.
        segment_length: L, the slots of a segment (less than asked for if every document is shorter than one segment).
        document: ``[S]`` the document of each segment; segments of a document are consecutive and in order.
        rank: ``[S]`` the number of each segment in its document, from 0.
        counts: ``[B]`` segments of each document.
        rows: rows that every document takes, if it is the same number for all (those after its last segment are
            empty); else None: its count.
        lengths: ``[B]`` real tokens of each document.
        origin: ``[B]`` position of each document's first token.
        mask: ``[S, L]`` true where a slot holds a token.
        slot_of_token: ``[B*N]`` flat slot of each token, S*L for padding; None if the layout is a plain reshape.
        max_segments: S_max, the segments of the longest document.
        full: no slot is empty.
        lead: empty slots before the first token of every document, or of some.
        before: ``[B]`` segments of each document that were laid out earlier and have no row here; None for none.
        kept: ``[S, L]`` true where a slot holds a token of an earlier layout, whose key is read here; None for none.
    """

    batch: int
    tokens: int
    segment_length: int
    document: Int[Tensor, " S"]
    rank: Int[Tensor, " S"]
    counts: Int[Tensor, " B"]
    rows: int | None
    lengths: Int[Tensor, " B"]
    origin: Int[Tensor, " B"]
    mask: Bool[Tensor, "S L"]
    slot_of_token: Int[Tensor, " M"] | None
    max_segments: int
    full: bool
    lead: int = 0
    before: Int[Tensor, " B"] | None = None
    kept: Bool[Tensor, "S L"] | None = None
    _memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def build(
        cls,
        batch: int,
        tokens: int,
        segment_length: int,
        *,
        attention_mask: Bool[Tensor, "B N"] | None = None,
        segment_shift: int = 0,
        causal: bool = False,
        device: torch.device | None = None,
    ) -> SegmentLayout:
        """Lay out a batch; without a mask every token is real.

        A bidirectional document of at most one segment is never shifted: it stays one segment. A causal one is, because
        its tokens must not depend on how many come after. Under ``torch.compile`` no shape may depend on the mask, and
        every document takes the rows of the longest that there could be. Under ``torch.export`` nothing may depend on
        the number of tokens, either, which can be that of any batch: segments are as long as is asked for.
        """
        shifted = segment_origin(segment_length, segment_shift)
        static, exported = torch.compiler.is_compiling(), torch.compiler.is_exporting()
        if exported and attention_mask is None:
            attention_mask = torch.ones(batch, tokens, dtype=torch.bool, device=device)
        if attention_mask is None or (not static and bool(attention_mask.all())):
            origin = shifted if causal or tokens > segment_length else 0
            device = device if attention_mask is None else attention_mask.device
            return cls._dense(batch, tokens, segment_length, origin, device)
        lengths = attention_mask.sum(1)
        origins = _origins(lengths, segment_length, shifted, causal)
        position = attention_mask.cumsum(1) - 1 + origins[:, None]
        longest = tokens + (shifted if causal or exported or tokens > segment_length else 0) if static else None
        return cls._ragged(lengths, origins, position, attention_mask, segment_length, longest)

    @classmethod
    def packed(
        cls, lengths: Int[Tensor, " B"], segment_length: int, *, segment_shift: int = 0, causal: bool = False
    ) -> SegmentLayout:
        """Lay out documents that stand one after the other in a single row of tokens ``[1, sum(lengths), ...]``."""
        shifted = segment_origin(segment_length, segment_shift)
        origins = _origins(lengths, segment_length, shifted, causal)
        start = torch.repeat_interleave(lengths.cumsum(0) - lengths - origins, lengths)
        position = (torch.arange(start.numel(), device=lengths.device) - start)[None]
        mask = torch.ones_like(position, dtype=torch.bool)
        return cls._ragged(lengths, origins, position, mask, segment_length)

    @classmethod
    def continued(
        cls,
        position: Int[Tensor, " B"],
        first: int,
        attention_mask: Bool[Tensor, "B N"],
        segment_length: int,
        neighbours: int,
    ) -> SegmentLayout:
        """Lay out the next tokens of causal documents, from the first segment on that they read in full.

        Args:
            position: that of each document's next token.
            first: that of every document's first token.
            attention_mask: true for tokens.
            segment_length: L.
            neighbours: segments before the own one that tokens read in full.
        """
        # A segment that has just been finished stands here, too: its document may get no token, and be cropped later.
        before = ((position - 1) // segment_length - neighbours).clamp(min=0)
        origin = position - before * segment_length
        place = attention_mask.cumsum(1) - 1 + origin[:, None]
        layout = cls._ragged(attention_mask.sum(1), origin, place, attention_mask, segment_length, before=before)
        flat, _, _ = layout.kept_slots(first)
        kept = torch.zeros_like(layout.mask).flatten().index_fill(0, flat, True).view_as(layout.mask)
        return dataclasses.replace(layout, kept=kept)

    def kept_slots(self, first: int) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"], Int[Tensor, " K"]]:
        """Return the flat slots here of tokens laid out earlier, their documents, and their positions in these.

        Args:
            first: position of every document's first token.
        """
        assert self.before is not None
        longest = int(self.origin.max()) if len(self.origin) else 0
        place = torch.arange(longest, device=self.origin.device).expand(len(self.origin), -1)
        position = place + self.before[:, None] * self.segment_length
        held = (place < self.origin[:, None]) & (position >= first)
        flat = self.first[:, None] * self.segment_length + place
        document = torch.arange(len(place), device=place.device)[:, None].expand_as(place)
        return flat[held], document[held], position[held]

    @classmethod
    def _dense(
        cls, batch: int, tokens: int, segment_length: int, origin: int, device: torch.device | None
    ) -> SegmentLayout:
        length = segment_length if origin else max(1, min(segment_length, tokens))
        per_document = -(-(tokens + origin) // length) if tokens else 0
        slots = torch.arange(per_document * length, device=device)
        mask = ((slots >= origin) & (slots < origin + tokens)).view(per_document, length)
        return cls(
            batch=batch,
            tokens=tokens,
            segment_length=length,
            document=torch.arange(batch, device=device).repeat_interleave(per_document),
            rank=torch.arange(per_document, device=device).repeat(batch),
            counts=torch.full((batch,), per_document, device=device),
            rows=per_document,
            lengths=torch.full((batch,), tokens, device=device),
            origin=torch.full((batch,), origin, device=device),
            mask=mask.repeat(batch, 1),
            slot_of_token=None,
            max_segments=per_document,
            full=origin == 0 and per_document * length == tokens,
            lead=origin if tokens else 0,
        )

    @classmethod
    def _ragged(
        cls,
        lengths: Int[Tensor, " B"],
        origins: Int[Tensor, " B"],
        position: Int[Tensor, "R N"],
        attention_mask: Bool[Tensor, "R N"],
        segment_length: int,
        longest: int | None = None,
        before: Int[Tensor, " B"] | None = None,
    ) -> SegmentLayout:
        batch, device = lengths.numel(), lengths.device
        static = longest is not None
        if longest is None:
            longest = int((lengths + origins).max()) if batch else 0
        whole = before is not None or torch.compiler.is_exporting()
        length = segment_length if whole else max(1, min(segment_length, longest))
        counts = (lengths + origins + length - 1) // length
        if before is None:
            counts = torch.where(lengths > 0, counts, torch.zeros_like(counts))
        documents = torch.arange(batch, device=device)
        if static:
            # torch takes a size that is one for another kind of program: an empty row more makes it two at least.
            rows = (longest + length - 1) // length + torch.compiler.is_exporting()
            total, first, max_segments = batch * rows, documents * rows, rows
            document = documents[:, None].expand(-1, rows).flatten()
        else:
            rows, total, first = None, int(counts.sum()), counts.cumsum(0) - counts
            max_segments = int(counts.max()) if batch else 0
            document = documents.repeat_interleave(counts)
        if position.shape[0] == batch:
            owner = documents[:, None].expand_as(position)
        else:
            owner = documents.repeat_interleave(lengths)[None]
        slot = torch.where(attention_mask, first[owner] * length + position, total * length).flatten()
        mask = torch.zeros(total * length + 1, dtype=torch.bool, device=device)
        mask = mask.index_fill(0, slot, True)
        return cls(
            batch=position.shape[0],
            tokens=position.shape[1],
            segment_length=length,
            document=document,
            rank=torch.arange(total, device=device) - first[document],
            counts=counts,
            rows=rows,
            lengths=lengths,
            origin=origins,
            mask=mask[:-1].view(total, length),
            slot_of_token=slot,
            max_segments=max_segments,
            full=False,
            lead=longest if static else (int(origins.max()) if batch else 0),
            before=before,
        )

    @property
    def segments(self) -> int:
        """S, the segments of all documents together."""
        return self.document.numel()

    @property
    def first(self) -> Int[Tensor, " B"]:
        """Row of each document's first segment."""
        return first_rows(self.counts, self.rows)

    @property
    def number(self) -> Int[Tensor, " S"]:
        """Number of each segment in its document, those laid out earlier included."""
        return self.rank if self.before is None else self.rank + self.before[self.document]

    @property
    def longest(self) -> int:
        """Segments of the longest document, those laid out earlier included."""
        if self.before is None:
            return self.max_segments
        segments = self.before + self.counts
        longest: int = self.memo("longest", lambda: int(segments.max()) if len(segments) else 0)
        return longest

    @property
    def single(self) -> bool:
        """No document has a second segment; false where a program for documents of any length is exported."""
        return not torch.compiler.is_exporting() and self.longest < 2

    @property
    def held(self) -> Bool[Tensor, "S L"]:
        """True where a slot holds a token, new or kept."""
        return self.mask if self.kept is None else self.mask | self.kept

    @property
    def positions(self) -> Int[Tensor, "S L"]:
        """Position u of every slot in its document."""
        return self.number[:, None] * self.segment_length + torch.arange(self.segment_length, device=self.rank.device)

    def _invert(self) -> Int[Tensor, " slots"]:
        """Return the flat token of each slot, B*N for an empty one."""
        assert self.slot_of_token is not None
        size = self.batch * self.tokens
        index = torch.full((self.segments * self.segment_length + 1,), size, device=self.rank.device)
        # Padding shares the last slot, which is dropped.
        index = index.scatter(0, self.slot_of_token, torch.arange(size, device=self.rank.device))
        return index[:-1].masked_fill(~self.mask.flatten(), size)

    def to_segments(self, tokens: Shaped[Tensor, "R N *E"]) -> Shaped[Tensor, "S L *E"]:
        """Copy each token to its slot; empty slots are zero, whatever stands in the padding."""
        rest = tokens.shape[2:]
        if self.slot_of_token is None:
            tail = self.max_segments * self.segment_length - self.tokens - self.lead
            if self.lead or tail:
                tokens = F.pad(tokens, (0, 0) * len(rest) + (self.lead, tail))
            return tokens.reshape(self.segments, self.segment_length, *rest)
        flat = tokens.reshape(self.batch * self.tokens, *rest)
        flat = torch.cat((flat, flat.new_zeros(1, *rest)))
        token_of_slot = self.memo("token of slot", self._invert)
        return flat.index_select(0, token_of_slot).view(self.segments, self.segment_length, *rest)

    def to_tokens(self, segments: Shaped[Tensor, "S L *E"]) -> Shaped[Tensor, "R N *E"]:
        """Copy each slot back to its token; padding is zero."""
        rest = segments.shape[2:]
        if self.slot_of_token is None:
            rows = segments.reshape(self.batch, self.max_segments * self.segment_length, *rest)
            return rows[:, self.lead : self.lead + self.tokens]
        flat = segments.reshape(self.segments * self.segment_length, *rest)
        flat = torch.cat((flat, flat.new_zeros(1, *rest)))
        return flat.index_select(0, self.slot_of_token).view(self.batch, self.tokens, *rest)

    def neighbour(self, step: int) -> tuple[Int[Tensor, " S"], Bool[Tensor, " S"]]:
        """Return the row of the segment ``step`` places on in the same document (else the own), and if there is one."""
        rank = self.rank + step
        exists = (rank >= 0) & (rank < self.counts[self.document])
        rows = torch.arange(self.segments, device=rank.device)
        return torch.where(exists, rows + step, rows), exists

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

    def memo(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what was made for this key, making it once: layers of one pass share a layout and its tables."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]
