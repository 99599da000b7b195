"""Says where the next token of each document goes and what it may read: once for all layers of one shift.

Letters: B documents, U of them whose positions differ (1 if all are at the same position, else B), L segment length, W
slots of the window. A single token's numbers are so few that plain Python costs less than operations on tensors do.

The window is a ring of W = (1 + neighbours)*L slots; position u is in slot u % W. For L = 4, neighbours = 1, W = 8, and
the next token at position u = 13, in segment 3, the ring holds and the token reads

    slot       0   1   2   3   4   5   6   7
    position   8   9  10  11  12  13   6   7
    read       yes yes yes yes yes yes no  no       from position 8, where segment 2 begins, to 13, its own

Slots of positions 6 and 7 are of segment 1, which is no neighbour any more and has not been overwritten yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from simmim.ops.attention import scaled_dot_product_attention

__all__ = ["READ", "UNREAD", "BatchColumns", "BatchMask", "StepLayout", "decode_attention", "key_bias"]

READ, UNREAD = 0.0, float("-inf")
"""What is added to the score of a key that the next token reads, and of one that it does not."""


class BatchMask:
    """A mask over the documents of a batch that the host knows, too: where it is all or none, no tensor is needed.

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

    def where(self, condition: Sequence[bool]) -> BatchMask:
        """Return those of these documents for which a condition holds."""
        return BatchMask([flag and holds for flag, holds in zip(self.flags, condition, strict=True)], self.device)

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


class BatchColumns:
    """The column of each of some documents that is to be written next.

    Args:
        columns: of every document; those of others mean nothing.
        documents: which are written.
    """

    def __init__(self, columns: Sequence[int], documents: BatchMask) -> None:
        self.columns, self.documents = columns, documents
        self.needed = 1 + max((c for c, chosen in zip(columns, documents.flags, strict=True) if chosen), default=-1)

    @cached_property
    def _index(self) -> tuple[Int[Tensor, " R"], Int[Tensor, " R"]]:
        pairs = [(row, self.columns[row]) for row, chosen in enumerate(self.documents.flags) if chosen]
        rows, columns = torch.tensor(pairs, dtype=torch.long, device=self.documents.device).view(-1, 2).unbind(1)
        return rows, columns

    def write(self, stored: Shaped[Tensor, "B *H C D"], new: Shaped[Tensor, "B *H D"]) -> Shaped[Tensor, "B *H C D"]:
        """Write into the columns, in place unless a gradient may have to flow through their old values."""
        if torch.is_grad_enabled() or (stored.is_inference() and not torch.is_inference_mode_enabled()):
            stored = stored.clone()
        if self.documents.all and len(set(self.columns)) == 1:
            stored.select(-2, self.columns[0]).copy_(new)
        elif self.documents.any:
            rows, columns = self._index
            # Moved next to the documents, so that the pair of indexes picks whole [*H, D] entries.
            stored.movedim(-2, 1)[rows, columns] = new[rows].to(stored.dtype)
        return stored


@dataclass(frozen=True, eq=False)
class StepLayout:
    """Says where the next token of each document goes and what it may read.

    Attributes:
        position: ``[B]`` position u of each document's next token.
        positions: the same on the host.
        real: documents that get a token; the others stay as they are.
        segment_length: L.
        neighbours: whole segments before the own one that a token reads.
        origin: position of a document's first token.
    """

    position: Int[Tensor, " B"]
    positions: list[int]
    real: BatchMask
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
        real = BatchMask(flags, position.device)
        return cls(position, position.tolist(), real, segment_length, neighbours, origin)

    @property
    def window(self) -> int:
        """W."""
        return (1 + self.neighbours) * self.segment_length

    @cached_property
    def numbers(self) -> list[int]:
        """Number of each document's segment."""
        return [position // self.segment_length for position in self.positions]

    @cached_property
    def counts(self) -> list[int]:
        """Tokens of each document's segment, the next one included."""
        # A segment begins at a multiple of L; the first of a shifted document has tokens only from the origin on.
        length = self.segment_length
        return [1 + position - max(position - position % length, self.origin) for position in self.positions]

    @cached_property
    def unique(self) -> Int[Tensor, " U"]:
        """Return the positions if they differ, or the one that all documents share."""
        return self.position[:1] if len(set(self.positions)) == 1 else self.position

    @cached_property
    def unique_numbers(self) -> list[int]:
        """Numbers of the segments at these positions."""
        return self.numbers[: len(self.unique)]

    @cached_property
    def slots(self) -> BatchColumns:
        """Slots of the window that the tokens go to."""
        return BatchColumns([position % self.window for position in self.positions], self.real)

    @cached_property
    def begins(self) -> BatchMask:
        """Documents whose token, if there is one, is the first of a segment."""
        flags = [position % self.segment_length == 0 or position == self.origin for position in self.positions]
        return BatchMask(flags, self.position.device)

    @cached_property
    def ends(self) -> BatchMask:
        """Documents whose token finishes a segment."""
        return self.real.where([(position + 1) % self.segment_length == 0 for position in self.positions])

    @cached_property
    def following(self) -> Int[Tensor, " B"]:
        """Positions of the tokens after these."""
        return self.position + (1 if self.real.all else self.real.mask)

    def readable(self, capacity: int) -> list[list[float]]:
        """Return ``[U][capacity]``: READ for the window's slots whose tokens the next one reads, or is.

        Args:
            capacity: slots that the window has so far, fewer than W until it is full.
        """
        return [self._readable(position, capacity) for position in self.positions[: len(self.unique)]]

    def _readable(self, position: int, capacity: int) -> list[float]:
        oldest = max((position // self.segment_length - self.neighbours) * self.segment_length, self.origin)
        first, last = oldest % self.window, position % self.window
        if first <= last:  # what is read lies in one piece
            row = [UNREAD] * first + [READ] * (last + 1 - first) + [UNREAD] * (capacity - 1 - last)
        else:  # it goes on at the ring's beginning, and the gap is what no longer counts
            row = [READ] * (last + 1) + [UNREAD] * (first - 1 - last) + [READ] * (capacity - first)
        return row[:capacity]

    def memo(self, key: Any, make: Callable[..., Any], *arguments: Any) -> Any:
        """Return what was made for this key, making it once for all layers."""
        if key not in self._memo:
            self._memo[key] = make(*arguments)
        return self._memo[key]


def decode_attention(
    q: Float[Tensor, "B H D"],
    k: Float[Tensor, "B H K D"],
    v: Float[Tensor, "B H K D"],
    bias: Float[Tensor, "U 1 1 K"],
    *,
    on_weights: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "B E"]:
    """Let one token of each document attend to the keys that it may read.

    Args:
        q: its query.
        k: keys, as a cache holds them.
        v: values.
        bias: ``key_bias`` of the keys; one row if all documents may read the same.
        on_weights: gets the weights ``[B, H, 1, K]``.
    """
    q = q.unsqueeze(2)
    if on_weights is None:
        return scaled_dot_product_attention(q, k, v, attn_mask=bias).flatten(1)
    weights = on_weights(torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias, dim=-1))
    return (weights @ v).flatten(1)


def key_bias(read: list[list[float]], like: Tensor) -> Float[Tensor, "U 1 1 K"]:
    """Return what is added to the scores of one token, as a tensor of the dtype of another, and where that is.

    Args:
        read: READ or UNREAD for each of K keys; one row if all documents may read the same.
        like: this other tensor.
    """
    bias = np.array(read, dtype=np.float32).reshape(len(read), 1, 1, -1 if read else 0)
    return torch.from_numpy(bias).to(like.device, like.dtype)
