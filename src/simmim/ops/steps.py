"""Says where the next token of each document goes and what it may read: once for all layers at the same place.

Letters: B documents, U of them whose place has to be told (1 if all are at the same place, else B), W tokens of a
window. A single token's numbers are so few that plain Python costs less than operations on tensors do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

__all__ = ["READ", "UNREAD", "Columns", "Some", "StepLayout"]

READ, UNREAD = 0.0, float("-inf")
"""What is added to the score of a key that the next token reads, and of one that it does not."""


class Some:
    """Some documents of a batch, known on the host, too: what concerns all of them, or none, needs no mask.

    Args:
        flags: whether it is this document, for each.
        device: of the mask.
    """

    def __init__(self, flags: Sequence[bool], device: torch.device) -> None:
        self.flags, self.device = list(flags), device
        self.all, self.any = all(self.flags), any(self.flags)

    @cached_property
    def mask(self) -> Bool[Tensor, " B"]:
        """True for these documents."""
        return torch.tensor(self.flags, dtype=torch.bool, device=self.device)

    def where(self, condition: Sequence[bool]) -> Some:
        """Return those of these documents for which a condition holds."""
        return Some([flag and holds for flag, holds in zip(self.flags, condition, strict=True)], self.device)

    def choose(self, new: Shaped[Tensor, "B *E"], old: Shaped[Tensor, "B *E"]) -> Shaped[Tensor, "B *E"]:
        """Return the rows of ``new`` for these documents, and of ``old`` for the others."""
        if self.all or not self.any:
            return new if self.all else old
        return torch.where(self._rows(new), new, old)

    def fill(self, rows: Shaped[Tensor, "B *E"], value: float) -> Shaped[Tensor, "B *E"]:
        """Return a value for these documents, and the rows of the others."""
        return rows.masked_fill(self._rows(rows), value)

    def only(self, rows: Shaped[Tensor, "B *E"]) -> Shaped[Tensor, "B *E"]:
        """Return the rows of these documents, and zeros for the others."""
        return rows if self.all else rows.masked_fill(~self._rows(rows), 0)

    def _rows(self, like: Tensor) -> Tensor:
        return self.mask.view(-1, *[1] * (like.dim() - 1))


class Columns:
    """The column of each of some documents that is to be written next.

    Args:
        columns: of every document; those of others mean nothing.
        documents: which are written.
    """

    def __init__(self, columns: Sequence[int], documents: Some) -> None:
        self.columns, self.documents = columns, documents
        self.needed = 1 + max((c for c, chosen in zip(columns, documents.flags, strict=True) if chosen), default=-1)

    @cached_property
    def _index(self) -> tuple[Int[Tensor, " R"], Int[Tensor, " R"]]:
        pairs = [(row, self.columns[row]) for row, chosen in enumerate(self.documents.flags) if chosen]
        rows, columns = torch.tensor(pairs, dtype=torch.long, device=self.documents.device).view(-1, 2).unbind(1)
        return rows, columns

    def write(self, kept: Shaped[Tensor, "B *H C D"], new: Shaped[Tensor, "B *H D"]) -> Shaped[Tensor, "B *H C D"]:
        """Write into the columns, in place unless a gradient may have to flow through what they held."""
        if torch.is_grad_enabled() or (kept.is_inference() and not torch.is_inference_mode_enabled()):
            kept = kept.clone()
        if self.documents.all and len(set(self.columns)) == 1:
            kept.select(-2, self.columns[0]).copy_(new)
        elif self.documents.any:
            rows, columns = self._index
            kept.movedim(-2, 1)[rows, columns] = new[rows].to(kept.dtype)
        return kept


@dataclass(frozen=True, eq=False)
class StepLayout:
    """Says where the next token of each document goes and what it may read.

    Attributes:
        position: ``[B]`` position u of each document's next token.
        places: the same on the host.
        real: documents that get a token; the others stay as they are.
        segment_length: L.
        neighbours: whole segments before the own one that a token reads.
        origin: position of a document's first token.
    """

    position: Int[Tensor, " B"]
    places: list[int]
    real: Some
    segment_length: int
    neighbours: int
    origin: int
    _memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def build(
        cls,
        position: Int[Tensor, " B"],
        attention_mask: Bool[Tensor, "B 1"] | None,
        segment_length: int,
        neighbours: int,
        origin: int,
    ) -> StepLayout:
        """Lay out one token of each document where the mask is true; without a mask, of every one."""
        flags = [True] * len(position) if attention_mask is None else attention_mask[:, 0].tolist()
        real = Some(flags, position.device)
        return cls(position, position.tolist(), real, segment_length, neighbours, origin)

    @property
    def window(self) -> int:
        """W."""
        return (1 + self.neighbours) * self.segment_length

    @cached_property
    def numbers(self) -> list[int]:
        """Number of each document's segment."""
        return [place // self.segment_length for place in self.places]

    @cached_property
    def counts(self) -> list[int]:
        """Tokens of each document's segment, the next one included."""
        return [1 + place - max(place - place % self.segment_length, self.origin) for place in self.places]

    @cached_property
    def told(self) -> Int[Tensor, " U"]:
        """Return the positions that differ: all, or one if they are the same."""
        return self.position[:1] if len(set(self.places)) == 1 else self.position

    @cached_property
    def told_numbers(self) -> list[int]:
        """Numbers of the segments at these positions."""
        return self.numbers[: len(self.told)]

    @cached_property
    def slots(self) -> Columns:
        """Slots of the window that the tokens go to."""
        return Columns([place % self.window for place in self.places], self.real)

    @cached_property
    def begins(self) -> Some:
        """Documents whose token, if there is one, is the first of a segment."""
        flags = [place % self.segment_length == 0 or place == self.origin for place in self.places]
        return Some(flags, self.position.device)

    @cached_property
    def ends(self) -> Some:
        """Documents whose token finishes a segment."""
        return self.real.where([(place + 1) % self.segment_length == 0 for place in self.places])

    @cached_property
    def following(self) -> Int[Tensor, " B"]:
        """Positions of the tokens after these."""
        return self.position + (1 if self.real.all else self.real.mask)

    def readable(self, room: int) -> list[list[float]]:
        """Return ``[U][W]``: READ for those of the window's first slots whose tokens the next one reads, or is."""
        return [self._readable(place, room) for place in self.places[: len(self.told)]]

    def _readable(self, place: int, room: int) -> list[float]:
        oldest = max((place // self.segment_length - self.neighbours) * self.segment_length, self.origin)
        first, last = oldest % self.window, place % self.window
        if first <= last:
            row = [UNREAD] * first + [READ] * (last + 1 - first) + [UNREAD] * (room - 1 - last)
        else:
            row = [READ] * (last + 1) + [UNREAD] * (first - 1 - last) + [READ] * (room - first)
        return row[:room]

    def memo(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what was made for this key, making it once for all layers."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]
