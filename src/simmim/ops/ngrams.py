"""What followed the last few tokens when they stood in a document before: of all tokens at once, or step by step.

Letters: B documents (or rows of several), N tokens, O lengths of n-grams (1 to O tokens), G buckets of each (one of
them for what belongs nowhere), K continuations that a bucket keeps, C = O*K that a token is shown, T = B*N.

Of every n-gram the tokens that came after it are kept in the bucket that its hash names, the newest first, of which the
newest K stay: so a document's table has the same size however long it is, and what it forgets is the oldest. Cost:
O sorts of T numbers, or, for a step, O rows of a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BUCKETS", "KEPT", "LONGEST", "NgramTable", "find_continuations", "step_continuations"]

LONGEST = 4
"""O: tokens of the longest n-gram."""
KEPT = 4
"""K: continuations that a bucket keeps."""
BUCKETS = 1 << 14
"""G - 1: buckets of each length that are looked into."""
NONE, UNKNOWN = -1, -2
"""Stand for a token that is not there, and for one that has no id."""
_FACTORS = (0x5851F42D4C957F2D, 0x14057B7EF767814F, 0x2545F4914F6CDD1D, 0x369DEA0F31A53F85)
"""Odd numbers without a pattern, one for each position in an n-gram: sums of products modulo 2^64 are the hash."""
_Numbers = TypeVar("_Numbers", int, Tensor)


@dataclass
class NgramTable:
    """Holds what followed the n-grams of each document, in the host's memory: a step asks for a few numbers of it.

    Attributes:
        recent: ``[B, O]`` int64 the last tokens, the newest first; -1 where there is none, -2 for one without an id.
        rows: ``[B, O, G, K]`` int64: of every bucket the continuations, the newest first: the upper half distinguishes
            the n-gram from others of its bucket, the lower one is the token that came; -1 where nothing is. The
            bucket after the last takes what belongs nowhere.
    """

    recent: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def empty(cls, batch: int) -> NgramTable:
        """Return the table of documents without tokens."""
        shape = (batch, LONGEST, BUCKETS + 1, KEPT)
        return cls(np.full((batch, LONGEST), NONE, dtype=np.int64), np.full(shape, NONE, dtype=np.int64))

    def select(self, index: Int[Tensor, " R"]) -> None:
        """Keep (and repeat, and reorder) the documents of these numbers."""
        chosen = index.cpu().numpy()
        self.recent, self.rows = self.recent[chosen], self.rows[chosen]


@torch.no_grad()
def find_continuations(
    ids: Int[Tensor, "B N"],
    real: Bool[Tensor, "B N"] | None = None,
    begins: Bool[Tensor, "B N"] | None = None,
    table: NgramTable | None = None,
) -> Int[Tensor, "B N C"]:
    """Return, for every token, the tokens that followed its n-grams before.

    Args:
        ids: int64; -1 for a token without an id, which is in no n-gram and is shown to none.
        real: which of them are tokens; None if all are. Padding may stand anywhere and hold anything.
        begins: the first token of each of several documents in a row; None if a row is one document.
        table: of the tokens before these, and from then on of these, too; for one document a row.

    Returns:
        For n-grams of 1, 2, ... O tokens that end with this token: the continuations of the newest K of their bucket,
        the newest first, and -1 where there is none, or where it is that of another n-gram.
    """
    batch, ahead, device = ids.shape[0], 0, ids.device
    if table is not None:
        ids, real = ids.cpu(), None if real is None else real.cpu()
    ids = torch.where(ids < 0, UNKNOWN, ids)
    valid = torch.ones_like(ids, dtype=torch.bool) if real is None else real
    if table is not None:
        # What came before stands before the new tokens; only the last of it still waits for what follows it.
        ahead, before = LONGEST, torch.from_numpy(table.recent).flip(1)
        ids, valid = torch.cat((before, ids), 1), torch.cat((before != NONE, valid), 1)
    width = ids.shape[1]
    flat, previous = ids.flatten(), _previous(valid, begins).flatten()
    grams, index = [flat], previous
    for _ in range(LONGEST - 1):
        grams.append(_at(flat, index))
        index = _at(previous, index)
    recent = torch.stack(grams, 1)
    following = _put(torch.full_like(flat, NONE), previous, flat)
    waiting = valid.clone()
    waiting[:, : max(ahead - 1, 0)] = False
    bucket, check = _hashes(recent, waiting.view(-1, 1))
    if begins is None:
        document = torch.arange(batch, device=ids.device).repeat_interleave(width)
    else:
        document = begins.flatten().cumsum(0)
    found = [_of_one_length(n, document, bucket[:, n], check[:, n], following, table) for n in range(LONGEST)]
    if table is not None:
        last = torch.arange(width, device=ids.device).masked_fill(~valid, NONE).amax(1, keepdim=True)
        ends = recent.view(batch, width, -1).gather(1, last.clamp(min=0)[..., None].expand(-1, -1, LONGEST))
        table.recent = ends[:, 0].masked_fill(last < 0, NONE).numpy()
    return torch.cat(found, 1).view(batch, width, -1)[:, ahead:].to(device)


def step_continuations(
    ids: Int[Tensor, " B"], table: NgramTable, real: Bool[Tensor, " B"] | None = None
) -> Int[Tensor, "B C"]:
    """Return what ``find_continuations`` does for the next token of each document, and put it into the table.

    Args:
        ids: int64; -1 for a token without an id.
        table: of the tokens before.
        real: which documents get a token; None if all do. The others stay as they are, and nothing is found for them.
    """
    # A few numbers of each document: plain ones cost less than the calls that it would take on tensors.
    rows, recent = table.rows, table.recent
    found = np.full((len(ids), LONGEST * KEPT), NONE, dtype=np.int64)
    flags = [True] * len(ids) if real is None else real.tolist()
    for document, (token, valid) in enumerate(zip(ids.tolist(), flags, strict=True)):
        if not valid:
            continue
        before = recent[document].tolist()
        now = [token if token >= 0 else UNKNOWN, *before[:-1]]
        for n, bucket, check in _hashes_of_one(before):
            entries = rows[document, n, bucket]
            entries[1:] = entries[:-1].copy()
            entries[0] = (check << 32) + now[0] - UNKNOWN
        for n, bucket, check in _hashes_of_one(now):
            for slot, entry in enumerate(rows[document, n, bucket].tolist()):
                if entry >> 32 == check:
                    found[document, n * KEPT + slot] = max((entry & 0xFFFFFFFF) + UNKNOWN, NONE)
        recent[document] = now
    return torch.from_numpy(found).to(ids.device)


def _hashes_of_one(recent: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield, of the n-grams that are whole, their index among the lengths and what ``_hashes`` says."""
    hashed = 0
    for n, token in enumerate(recent):
        if token < 0:
            return
        hashed += (token + 1) * _FACTORS[n]
        yield n, *_parts(hashed)


def _of_one_length(
    n: int,
    document: Int[Tensor, " T"],
    bucket: Int[Tensor, " T"],
    check: Int[Tensor, " T"],
    following: Int[Tensor, " T"],
    table: NgramTable | None,
) -> Int[Tensor, "T K"]:
    """Return the continuations of n-grams of one length, and put those that are new into the table."""
    group = document * (BUCKETS + 1) + bucket
    entry = torch.where(check < 0, NONE, (check << 32) + following - UNKNOWN)
    order = group.argsort(stable=True)
    group, bucket, check, entry = (tensor[order] for tensor in (group, bucket, check, entry))
    kept, alike = [], []
    for step in range(1, KEPT + 1):
        same = group == F.pad(group, (step, 0), value=NONE)[: group.shape[0]]
        kept.append(F.pad(entry, (step, 0), value=NONE)[: group.shape[0]].masked_fill(~same, NONE))
        alike.append(same)
    before = torch.stack(kept, 1)
    if table is not None:
        # Behind what came with these tokens follow the table's own rows.
        table_rows = torch.from_numpy(table.rows)
        rows = table_rows[document[order], n, bucket]
        count, slots = torch.stack(alike).sum(0)[:, None], torch.arange(KEPT, device=group.device)
        before = torch.cat((before, rows), 1).gather(1, slots + torch.where(slots < count, 0, KEPT - count))
        new = torch.cat((entry[:, None], before[:, :-1]), 1)
        follows = following[order] != NONE
        newest = follows & ~((group == F.pad(group[1:], (0, 1), value=NONE)) & F.pad(follows[1:], (0, 1)))
        # All that is no bucket's newest goes where nothing is read.
        table_rows[document[order], n, torch.where(newest, bucket, BUCKETS)] = new
    same = (before >> 32 == check[:, None]) & (before >= 0)
    shown = torch.where(same, (before & 0xFFFFFFFF) + UNKNOWN, NONE).clamp(min=NONE)
    return torch.empty_like(shown).index_copy_(0, order, shown)


def _hashes(recent: Int[Tensor, "R O"], wanted: Bool[Tensor, "R 1"]) -> tuple[Int[Tensor, "R O"], Int[Tensor, "R O"]]:
    """Return bucket and check number of every n-gram: the bucket after the last and -1 if it is not whole."""
    factors = torch.tensor(_FACTORS, device=recent.device)
    hashed = ((recent + 1) * factors).cumsum(-1)
    whole = (recent.cummin(-1).values >= 0) & wanted
    bucket, check = _parts(hashed)
    return torch.where(whole, bucket, BUCKETS), torch.where(whole, check, NONE)


def _parts(hashed: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Return the bits of a hash that name the bucket, and those that distinguish n-grams of one bucket."""
    return (hashed >> 40) & (BUCKETS - 1), (hashed >> 8) & 0x7FFFFFFF


def _previous(real: Bool[Tensor, "B N"], begins: Bool[Tensor, "B N"] | None) -> Int[Tensor, "B N"]:
    """Return where the token before each stands in the flattened batch: -1 for a first one, and for padding."""
    indices = torch.arange(real.numel(), device=real.device).view_as(real)
    last = F.pad(indices.masked_fill(~real, NONE), (1, -1), value=NONE).cummax(1).values
    return last.masked_fill(~real if begins is None else ~real | begins, NONE)


def _at(values: Shaped[Tensor, " T"], index: Int[Tensor, " T"]) -> Shaped[Tensor, " T"]:
    """Return the values at these indices, and -1 where there is none."""
    return values[index.clamp(min=0)].masked_fill(index < 0, NONE)


def _put(values: Shaped[Tensor, " T"], index: Int[Tensor, " T"], new: Shaped[Tensor, " T"]) -> Shaped[Tensor, " T"]:
    """Return the values with new ones at these indices, of which none comes twice; -1 puts nothing anywhere."""
    return F.pad(values, (0, 1)).index_copy(0, index.masked_fill(index < 0, values.shape[0]), new)[:-1]
