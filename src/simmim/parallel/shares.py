"""Which tokens of a batch each rank holds, and which segments it works on in a layer.

Documents are *packed*: the tokens of a batch, padding left out, are numbered through, document by document. A rank
holds a contiguous share of the segments of all documents (without shift), and so a range of packed tokens. In a layer
it works on the segments that its tokens are in, and reads the neighbouring ones:

    L = 4, one document of 14 tokens, two ranks, neighbours = 1, bidirectional
    rank 0 holds a0 .. a7, reads a8 .. a11          rank 1 holds a8 .. a13, reads a4 .. a7
    shifted by 2: segments are a0 a1 | a2 .. a5 | a6 .. a9 | a10 .. a13: rank 0 reads a8 .. a13, rank 1 a2 .. a7

A segment that lies in two shares belongs to the rank of its last token, which makes its state. Letters: B documents,
N tokens, T packed tokens, S segments of all documents, K ranks, L segment length, E width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from simmim.ops.layout import Neighbour, SegmentLayout
from simmim.ops.options import segment_origin
from simmim.ops.segments import document_origins
from simmim.parallel.collectives import Ranks, all_gather, exchange

__all__ = ["ShardedLayout", "Shares"]


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardedLayout(SegmentLayout):
    """The segments that a rank works on in a layer, and those it reads; counts and numbers are of whole documents.

    Attributes:
        ranks: the processes.
        whole: the segments of all documents, laid out as if each were one token.
        owner: ``[S]`` the rank that makes the state of each of these; it never falls.
        guests: those of these that another rank than the owner also works on.
        owned: the rows here of which this rank makes the states.
        own_tokens: the tokens here that are this rank's own; the others were received.
        sending: the own tokens that go to other ranks, and how many go to, and come from, each rank; None if none go.
    """

    ranks: Ranks
    whole: SegmentLayout
    owner: Int[Tensor, " S"]
    guests: Int[Tensor, " G"]
    owned: slice
    own_tokens: slice
    sending: tuple[Int[Tensor, " J"], list[int], list[int]] | None

    def neighbours(self, steps: list[int]) -> list[Neighbour]:
        """Return the row of the segment so many further, and whether it is here; rows that lack it are not returned."""
        rows, found = torch.arange(self.segments, device=self.rank.device), []
        for step in steps:
            row = (rows + step).clamp(0, max(self.segments - 1, 0))
            exists = (self.document[row] == self.document) & (self.rank[row] == self.rank + step)
            found.append((torch.where(exists, row, rows), exists))
        return found

    def receive(self, tokens: Float[Tensor, "T E"]) -> Float[Tensor, "T2 E"]:
        """Return the tokens that this layer reads: the rank's own, and those of the neighbouring segments."""
        if self.sending is None:
            return tokens
        index, sent, received = self.sending
        found = exchange(tokens, index, sent, received, self.ranks, "neighbours")
        return torch.cat((found[: self.own_tokens.start], tokens, found[self.own_tokens.start :]))

    def gather(self, states: Float[Tensor, "S1 E"]) -> Float[Tensor, "S E"]:
        """Return the states of all segments from those of the rows here."""
        counts = torch.bincount(self.owner, minlength=self.ranks.size).tolist()
        return all_gather(states[self.owned], counts, self.ranks, "states")


class Shares:
    """Says which tokens of a batch each rank holds, and moves this rank's.

    Args:
        mask: ``[B, N]`` true for tokens.
        segment_length: L.
        ranks: the processes.
    """

    def __init__(self, mask: Bool[Tensor, "B N"], segment_length: int, ranks: Ranks) -> None:
        self.ranks, self.segment_length, self.device = ranks, segment_length, mask.device
        self.lengths = mask.sum(1).cpu()
        self.offsets = self.lengths.cumsum(0) - self.lengths
        whole = SegmentLayout.packed((self.lengths + segment_length - 1) // segment_length, 1)
        begins = self.offsets[whole.document] + whole.rank * segment_length
        begins = torch.cat((begins, self.lengths.sum()[None]))
        self.borders = begins[torch.arange(ranks.size + 1) * whole.segments // ranks.size]
        begin, end = int(self.borders[ranks.rank]), int(self.borders[ranks.rank + 1])
        self.tokens = end - begin
        self._index = mask.flatten().nonzero()[begin:end, 0]
        document = self._index // max(1, mask.shape[1])
        first = self.offsets.to(self.device).clamp(min=begin)[document]
        column = torch.arange(begin, end, device=self.device) - first
        # One column at least: a document of padding alone is what models know how to read.
        self.shape = mask.shape[0], int(column.max()) + 1 if self.tokens else 1
        self._slot = document * self.shape[1] + column
        self._layouts: dict[Any, ShardedLayout] = {}

    @property
    def mask(self) -> Bool[Tensor, "B N1"]:
        """True for the tokens of this rank, which are moved to the left."""
        return self.take(torch.ones(1, 1, dtype=torch.bool, device=self.device), False)

    def take(self, values: Shaped[Tensor, "B N ..."], fill: Any = 0) -> Shaped[Tensor, "B N1 ..."]:
        """Return the values of this rank's tokens, and at padding something else."""
        flat = values.flatten(0, 1)
        own = flat[self._index] if flat.shape[0] > 1 else flat.expand(self.tokens, *flat.shape[1:])
        out = flat.new_full((self.shape[0] * self.shape[1], *flat.shape[1:]), fill)
        return out.index_copy(0, self._slot, own).unflatten(0, self.shape)

    def pack(self, tokens: Shaped[Tensor, "R N1 E"]) -> Shaped[Tensor, "T E"]:
        """Leave the padding out, unless the model has done so."""
        flat = tokens.flatten(0, 1)
        return flat if len(flat) == self.tokens else flat[self._slot]

    def spread(self, packed: Shaped[Tensor, "T E"], like: Shaped[Tensor, "R N1 E"]) -> Shaped[Tensor, "R N1 E"]:
        """Undo ``pack``."""
        rows = like.shape[0] * like.shape[1]
        if rows != self.tokens:
            packed = packed.new_zeros(rows, *packed.shape[1:]).index_copy(0, self._slot, packed)
        return packed.view(*like.shape[:2], *packed.shape[1:])

    def layout(self, shift: int, causal: bool, neighbours: int) -> ShardedLayout:
        """Lay out this rank's tokens for the layers of these options."""
        kind = shift, causal, neighbours
        if kind not in self._layouts:
            self._layouts[kind] = _lay_out(self, *kind)
        return self._layouts[kind]


def _lay_out(shares: Shares, shift: int, causal: bool, near: int) -> ShardedLayout:
    lengths, offsets, rank = shares.lengths, shares.offsets, shares.ranks.rank
    origin = document_origins(lengths, shares.segment_length, segment_origin(shares.segment_length, shift), causal)
    length = max(1, min(shares.segment_length, int((lengths + origin).max()) if len(lengths) else 0))
    counts = torch.where(lengths > 0, (lengths + origin + length - 1) // length, 0)
    whole = SegmentLayout.packed(counts, 1)
    # The packed tokens of each segment, and of each rank's share: from `begins` up to, not including, `ends`.
    at = whole.rank * length - origin[whole.document]
    begins = offsets[whole.document] + at.clamp(min=0)
    ends = offsets[whole.document] + torch.minimum(at + length, lengths[whole.document])
    held_from, held_to = shares.borders[:-1], shares.borders[1:]
    owner = torch.searchsorted(held_to, ends - 1, right=True)
    read_from, read_to, last = _read_ranges(whole, begins, ends, held_from, held_to, near)
    if causal:
        read_to = held_to
    token = torch.arange(int(read_from[rank]), int(read_to[rank]))
    row_of_token = torch.searchsorted(ends, token, right=True)
    first_row, rows = (int(row_of_token[0]), int(row_of_token[-1] - row_of_token[0]) + 1) if len(token) else (0, 0)
    here = slice(first_row, first_row + rows)
    position = token - offsets[whole.document[row_of_token]] + origin[whole.document[row_of_token]]
    slot = (row_of_token - first_row) * length + position % length
    mask = torch.zeros(rows * length, dtype=torch.bool).index_fill(0, slot, True).view(rows, length)
    own = (owner[here] == rank).nonzero()[:, 0].tolist()
    works = held_to > held_from
    others = last[works][owner[last[works]] != torch.arange(len(works))[works]]
    lead, device = int(held_from[rank] - read_from[rank]), shares.device
    return ShardedLayout(
        batch=1,
        tokens=len(token),
        segment_length=length,
        segments=rows,
        document=whole.document[here].to(device),
        rank=whole.rank[here].to(device),
        number=whole.rank[here].to(device),
        counts=counts.to(device),
        first=whole.first.to(device),
        rows=None,
        lengths=lengths.to(device),
        origin=origin.to(device),
        mask=mask.to(device),
        slot_of_token=slot.to(device),
        max_segments=whole.max_segments,
        longest=whole.max_segments,
        single=whole.max_segments < 2,
        full=bool(mask.all()),
        left_padding=int(origin.max()) if len(origin) else 0,
        ranks=shares.ranks,
        whole=whole,
        owner=owner,
        guests=others.unique(),
        owned=slice(own[0], own[-1] + 1) if own else slice(0, 0),
        own_tokens=slice(lead, lead + shares.tokens),
        sending=_sending(rank, held_from, held_to, read_from, read_to, device),
    )


def _read_ranges(
    whole: SegmentLayout, begins: Tensor, ends: Tensor, held_from: Tensor, held_to: Tensor, near: int
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Return the packed tokens that each rank reads, and the last segment that its own tokens are in."""
    if not whole.segments:
        return held_from, held_to, torch.zeros_like(held_to)
    first = torch.searchsorted(ends, held_from, right=True).clamp(max=whole.segments - 1)
    last = torch.searchsorted(ends, (held_to - 1).clamp(min=0), right=True)
    # Neighbours are of the same document.
    before = torch.maximum(first - near, whole.first[whole.document[first]])
    final = (whole.first + whole.counts - 1)[whole.document[last]]
    empty = held_to == held_from
    read_from = torch.where(empty, held_from, torch.minimum(begins[before], held_from))
    return read_from, torch.where(empty, held_to, ends[torch.minimum(last + near, final)]), last


def _sending(
    rank: int, held_from: Tensor, held_to: Tensor, read_from: Tensor, read_to: Tensor, device: torch.device
) -> tuple[Tensor, list[int], list[int]] | None:
    """Return which of its tokens a rank sends, and how many go to, and come from, each rank; None if no rank sends."""
    if bool((read_from == held_from).all()) and bool((read_to == held_to).all()):
        return None
    later = torch.arange(len(held_to)) > rank
    begin, end = held_from[rank], held_to[rank]
    # A rank after this one reads tokens before its own, one before this one tokens after its own.
    lowest = torch.where(later, read_from, held_to).clamp(min=begin)
    sent = (torch.where(later, held_from, read_to).clamp(max=end) - lowest).clamp(min=0)
    from_here = torch.where(later, end, read_from[rank])
    to_here = torch.where(later, read_to[rank], begin)
    received = (torch.minimum(held_to, to_here) - torch.maximum(held_from, from_here)).clamp(min=0)
    sent[rank] = received[rank] = 0
    index = [torch.arange(int(low), int(low + count)) for low, count in zip(lowest, sent, strict=True)]
    return (torch.cat(index) - begin).to(device), sent.tolist(), received.tolist()
