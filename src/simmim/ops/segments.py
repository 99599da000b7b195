"""Cuts a batch of documents into ragged segments: which slot of which segment each token gets.

Letters and coordinates are those of ``simmim.ops.layout``, whose ``SegmentLayout`` moves tokens by what is found here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from simmim.errors import ShapeError
from simmim.ops.options import segment_origin

__all__ = ["Segments", "check_attention_mask", "document_origins", "first_rows"]

Layout = TypeVar("Layout", bound="Segments")


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


def document_origins(lengths: Tensor, segment_length: int, shifted: int, causal: bool) -> Tensor:
    """Return each document's origin: a bidirectional document of at most one segment is not shifted."""
    if causal:
        return torch.full_like(lengths, shifted)
    return torch.where(lengths > segment_length, shifted, torch.zeros_like(lengths))


def _row_owners(counts: Int[Tensor, " B"], rows: int | None) -> tuple[Int[Tensor, " S"], int, int]:
    """Return the document of each row, how many rows there are, and the most of one document."""
    batch, documents = counts.shape[0], torch.arange(counts.shape[0], device=counts.device)
    if rows is not None:
        return documents[:, None].expand(-1, rows).flatten(), batch * rows, rows
    return documents.repeat_interleave(counts), int(counts.sum()), int(counts.max()) if batch else 0


@dataclass(frozen=True, eq=False)
class Segments:
    """Says which token of a batch is in which slot of which segment.

    Attributes:
        batch, tokens: B and N of the token tensors that it maps.
        segment_length: L, the slots of a segment (less than asked for if every document is shorter than one segment).
        segments: S.
        document: ``[S]`` the document of each segment; segments of a document are consecutive and in order.
        rank: ``[S]`` the number of each segment among those of its document that have a row here, from 0.
        number: ``[S]`` the same in the whole document: rank, and the document's ``segment_offset``.
        counts: ``[B]`` segments of each document.
        first: ``[B]`` row of each document's first segment.
        rows: rows that every document takes, if it is the same number for all (those after its last segment are
            empty); else None: its count.
        lengths: ``[B]`` tokens of each document, padding left out.
        origin: ``[B]`` slot of each document's first token, counted from its first row.
        mask: ``[S, L]`` true where a slot holds a token.
        slot_of_token: ``[B*N]`` flat slot of each token, S*L for padding; None if the layout is a plain reshape.
        max_segments: S_max, the most segments that a document has here.
        longest: the most segments that a document has, those laid out earlier included.
        single: no document has a second segment; false where a program for documents of any length is exported.
        full: no slot is empty.
        left_padding: empty slots before the first token of every document, or of some.
        segment_offset: ``[B]`` segments of each document that were laid out earlier and have no row here; or None.
        cached: ``[S, L]`` true where a slot holds a token of an earlier layout, whose key is read here; or None.
    """

    batch: int
    tokens: int
    segment_length: int
    segments: int
    document: Int[Tensor, " S"]
    rank: Int[Tensor, " S"]
    number: Int[Tensor, " S"]
    counts: Int[Tensor, " B"]
    first: Int[Tensor, " B"]
    rows: int | None
    lengths: Int[Tensor, " B"]
    origin: Int[Tensor, " B"]
    mask: Bool[Tensor, "S L"]
    slot_of_token: Int[Tensor, " T"] | None
    max_segments: int
    longest: int
    single: bool
    full: bool
    left_padding: int = 0
    segment_offset: Int[Tensor, " B"] | None = None
    cached: Bool[Tensor, "S L"] | None = None

    @classmethod
    def build(
        cls: type[Layout],
        batch: int,
        tokens: int,
        segment_length: int,
        *,
        attention_mask: Bool[Tensor, "B N"] | None = None,
        segment_shift: int = 0,
        causal: bool = False,
        device: torch.device | None = None,
    ) -> Layout:
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
        origins = document_origins(lengths, segment_length, shifted, causal)
        # The running count of tokens numbers them from 0, whatever padding is between them.
        position = attention_mask.cumsum(1) - 1 + origins[:, None]
        most = tokens + (shifted if causal or exported or tokens > segment_length else 0) if static else None
        return cls._ragged(lengths, origins, position, attention_mask, segment_length, most)

    @classmethod
    def packed(
        cls: type[Layout],
        lengths: Int[Tensor, " B"],
        segment_length: int,
        *,
        segment_shift: int = 0,
        causal: bool = False,
    ) -> Layout:
        """Lay out documents that follow each other in a single row of tokens ``[1, sum(lengths), ...]``."""
        shifted = segment_origin(segment_length, segment_shift)
        origins = document_origins(lengths, segment_length, shifted, causal)
        # Where position 0 of each token's document would be in the row: before its first token, by its origin.
        start = torch.repeat_interleave(lengths.cumsum(0) - lengths - origins, lengths)
        position = (torch.arange(start.numel(), device=lengths.device) - start)[None]
        mask = torch.ones_like(position, dtype=torch.bool)
        return cls._ragged(lengths, origins, position, mask, segment_length)

    @classmethod
    def continued(
        cls: type[Layout],
        position: Int[Tensor, " B"],
        first: int,
        attention_mask: Bool[Tensor, "B N"],
        segment_length: int,
        neighbours: int,
    ) -> Layout:
        """Lay out the next tokens of causal documents, from the first segment on that they read in full.

        Args:
            position: that of each document's next token.
            first: that of every document's first token.
            attention_mask: true for tokens.
            segment_length: L.
            neighbours: segments before the own one that tokens read in full.
        """
        # position - 1: the segment that has just been finished gets a row, too. Its document may get no token now, and
        # be cropped later, and then it is the segment under way again.
        offset = ((position - 1) // segment_length - neighbours).clamp(min=0)
        origin = position - offset * segment_length
        slot = attention_mask.cumsum(1) - 1 + origin[:, None]
        layout = cls._ragged(attention_mask.sum(1), origin, slot, attention_mask, segment_length, offset=offset)
        flat, _, _ = layout.cached_slots(first)
        cached = torch.zeros_like(layout.mask).flatten().index_fill(0, flat, True).view_as(layout.mask)
        return replace(layout, cached=cached)

    def cached_slots(self, first: int) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"], Int[Tensor, " K"]]:
        """Return the flat slots here of tokens laid out earlier, their documents, and their positions in these.

        Args:
            first: position of every document's first token.
        """
        assert self.segment_offset is not None
        longest = int(self.origin.max()) if len(self.origin) else 0
        # Every slot before the first new token (``origin``), but not those before the document's own first token.
        slot = torch.arange(longest, device=self.origin.device).expand(len(self.origin), -1)
        position = slot + self.segment_offset[:, None] * self.segment_length
        exists = (slot < self.origin[:, None]) & (position >= first)
        flat = self.first[:, None] * self.segment_length + slot
        document = torch.arange(len(slot), device=slot.device)[:, None].expand_as(slot)
        return flat[exists], document[exists], position[exists]

    @classmethod
    def _dense(
        cls: type[Layout], batch: int, tokens: int, segment_length: int, origin: int, device: torch.device | None
    ) -> Layout:
        """Lay out documents of the same length without padding: every document the same slots."""
        length = segment_length if origin else max(1, min(segment_length, tokens))
        rows = -(-(tokens + origin) // length) if tokens else 0
        slots = torch.arange(rows * length, device=device)
        mask = ((slots >= origin) & (slots < origin + tokens)).view(rows, length)
        rank = torch.arange(rows, device=device).repeat(batch)
        counts = torch.full((batch,), rows, device=device)
        return cls(
            batch=batch,
            tokens=tokens,
            segment_length=length,
            segments=batch * rows,
            document=torch.arange(batch, device=device).repeat_interleave(rows),
            rank=rank,
            number=rank,
            counts=counts,
            first=first_rows(counts, rows),
            rows=rows,
            lengths=torch.full((batch,), tokens, device=device),
            origin=torch.full((batch,), origin, device=device),
            mask=mask.repeat(batch, 1),
            slot_of_token=None,
            max_segments=rows,
            longest=rows,
            single=not torch.compiler.is_exporting() and rows < 2,
            full=origin == 0 and rows * length == tokens,
            left_padding=origin if tokens else 0,
        )

    @classmethod
    def _ragged(
        cls: type[Layout],
        lengths: Int[Tensor, " B"],
        origins: Int[Tensor, " B"],
        slot_in_document: Int[Tensor, "R N"],
        attention_mask: Bool[Tensor, "R N"],
        segment_length: int,
        most: int | None = None,
        offset: Int[Tensor, " B"] | None = None,
    ) -> Layout:
        """Lay out documents of different lengths: each has the rows that it needs, or the rows of ``most`` slots."""
        batch, device = lengths.numel(), lengths.device
        static, exported = most is not None, torch.compiler.is_exporting()
        if most is None:
            most = int((lengths + origins).max()) if batch else 0
        length = segment_length if offset is not None or exported else max(1, min(segment_length, most))
        counts = (lengths + origins + length - 1) // length
        if offset is None:  # else a document without new tokens keeps the rows of what it has cached
            counts = torch.where(lengths > 0, counts, torch.zeros_like(counts))
        # torch takes a size that is one for another kind of program: an empty row more makes it two at least.
        rows = (most + length - 1) // length + exported if static else None
        first, documents = first_rows(counts, rows), torch.arange(batch, device=device)
        document, total, max_segments = _row_owners(counts, rows)
        # A row of tokens is one document, or it is a single row that holds all of them.
        padded = slot_in_document.shape[0] == batch
        owner = documents[:, None].expand_as(slot_in_document) if padded else documents.repeat_interleave(lengths)[None]
        slot = torch.where(attention_mask, first[owner] * length + slot_in_document, total * length).flatten()
        # Padding goes to one slot more, behind all others, which is cut off.
        mask = torch.zeros(total * length + 1, dtype=torch.bool, device=device).index_fill(0, slot, True)
        rank = torch.arange(total, device=device) - first[document]
        longest = max_segments if offset is None else int((offset + counts).max()) if batch else 0
        return cls(
            batch=slot_in_document.shape[0],
            tokens=slot_in_document.shape[1],
            segment_length=length,
            segments=total,
            document=document,
            rank=rank,
            number=rank if offset is None else rank + offset[document],
            counts=counts,
            first=first,
            rows=rows,
            lengths=lengths,
            origin=origins,
            mask=mask[:-1].view(total, length),
            slot_of_token=slot,
            max_segments=max_segments,
            longest=longest,
            single=not exported and longest < 2,
            full=False,
            left_padding=most if static else (int(origins.max()) if batch else 0),
            segment_offset=offset,
        )
