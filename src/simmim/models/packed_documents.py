"""Documents packed one after the other in rows of tokens: where each begins, so that none reads another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from simmim.errors import ShapeError
from simmim.ops.segments import check_attention_mask

__all__ = ["PackedDocuments", "Packing", "last_tokens"]


def _pack_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Return the tokens at these indices of the flattened batch: ``[B, N, ...] -> [1, T, ...]``."""
    return tokens.flatten(0, 1).index_select(0, index)[None]


def _spread_tokens(packed: Tensor, index: Tensor, like: Tensor) -> Tensor:
    """Put packed tokens back to where they were in a batch that is ``[B, N]`` as ``like`` is: zero everywhere else."""
    out = packed.new_zeros(like.numel(), *packed.shape[2:])
    return out.index_copy(0, index, packed[0]).view(*like.shape, *packed.shape[2:])


@dataclass(frozen=True)
class Packing:
    """Puts the documents of a batch one after the other, without their padding, and back.

    Attributes:
        mask: ``[B, N]`` which tokens exist; None if all do.
        packs: the documents are packed; under ``torch.compile``, where no shape may depend on the mask, padding stays.
        index: ``[T]`` where the packed tokens stand in the batch; None if nothing moves.
    """

    mask: Tensor | None
    packs: bool
    index: Tensor | None = None

    @classmethod
    def of(cls, attention_mask: Tensor | None, batch: int, tokens: int) -> Packing:
        """Look at a batch's mask."""
        mask = None if attention_mask is None else check_attention_mask(attention_mask, batch, tokens)
        if torch.compiler.is_compiling():
            return cls(mask, packs=False)
        if mask is None or bool(mask.all()):
            return cls(None, packs=True)
        return cls(mask, packs=True, index=mask.flatten().nonzero()[:, 0])

    @property
    def lengths(self) -> Tensor | None:
        """Tokens of each document ``[B]``, if they are packed."""
        return self.mask.sum(1) if self.packs and self.mask is not None else None

    def pack(self, tokens: Tensor) -> Tensor:
        """``[B, N, ...] -> [1, T, ...]``, or the same with zeros at padding."""
        if self.mask is None:
            return tokens
        if self.index is not None:
            return _pack_tokens(tokens, self.index)
        return tokens.masked_fill(~self.mask.view(*self.mask.shape, *[1] * (tokens.dim() - 2)), 0)

    def spread(self, packed: Tensor) -> Tensor:
        """Undo ``pack``: zero at padding."""
        if self.mask is None or self.index is None:
            return self.pack(packed)
        return _spread_tokens(packed, self.index, self.mask)


@dataclass(frozen=True)
class PackedDocuments:
    """Says which tokens of a batch belong to which document.

    Attributes:
        lengths: ``[D]`` tokens of each document, in the order in which they stand, row by row.
        begins: ``[B, N]`` true at the first token of each document.
        index: ``[T]`` where the tokens stand in the flattened batch; None if there is no padding.
    """

    lengths: Tensor
    begins: Tensor
    index: Tensor | None

    @classmethod
    def find(
        cls,
        batch: int,
        tokens: int,
        *,
        mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cu_seq_lens_q: Tensor | None = None,
    ) -> PackedDocuments | None:
        """Look for more than one document in a row, as ``DataCollatorWithFlattening`` of transformers packs them.

        Args:
            batch: B, rows.
            tokens: N, tokens of a row.
            mask: ``[B, N]`` true for tokens; None if all are.
            position_ids: ``[B, N]`` numbers that begin with 0 in every document; None says nothing.
            cu_seq_lens_q: ``[D + 1]`` where the documents of one row begin, and last its length; None says nothing.

        Returns:
            The documents, or None if every row holds one.

        Raises:
            ShapeError: a shape or a value is not as above.
        """
        if cu_seq_lens_q is not None:
            begins = _from_borders(cu_seq_lens_q, batch, tokens, mask)
        elif position_ids is not None and tokens:
            begins = _from_positions(position_ids, batch, tokens, mask)
        else:
            return None
        if not bool((begins.sum(1) > 1).any()):
            return None
        index = None if mask is None or bool(mask.all()) else mask.flatten().nonzero()[:, 0]
        flat = begins.flatten() if index is None else begins.flatten()[index]
        first = flat.nonzero()[:, 0]
        return cls(first.diff(append=first.new_tensor([len(flat)])), begins, index)

    def pack(self, tokens: Tensor) -> Tensor:
        """``[B, N, ...] -> [1, T, ...]``: leave the padding out."""
        return tokens.flatten(0, 1)[None] if self.index is None else _pack_tokens(tokens, self.index)

    def spread(self, packed: Tensor) -> Tensor:
        """Undo ``pack``: zero at padding."""
        if self.index is None:
            return packed.view(*self.begins.shape, *packed.shape[2:])
        return _spread_tokens(packed, self.index, self.begins)


def last_tokens(mask: Tensor) -> Tensor:
    """Return the index of the token itself or, at padding, of the last one before ``[B, N]``: -1 before the first."""
    indices = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    return indices.masked_fill(~mask, -1).cummax(dim=1).values


def _from_borders(borders: Tensor, batch: int, tokens: int, mask: Tensor | None) -> Tensor:
    """Mark the first token of each document of one row without padding."""
    if batch != 1 or not (mask is None or bool(mask.all())):
        raise ShapeError(
            f"cu_seq_lens_q: expected documents in one row [1, N] without padding, got {batch} rows"
            f"{'' if mask is None else ' and an attention_mask'}; flatten them, or pass position_ids instead"
        )
    ends = (int(borders[0]), int(borders[-1])) if borders.dim() == 1 and len(borders) > 1 else None
    if ends != (0, tokens) or bool((borders.diff() < 1).any()):
        raise ShapeError(
            f"cu_seq_lens_q: expected rising numbers from 0 to the {tokens} tokens of the row, got {borders.tolist()}"
        )
    return torch.zeros(1, tokens, dtype=torch.bool, device=borders.device).index_fill(1, borders[:-1].long(), True)


def _from_positions(position_ids: Tensor, batch: int, tokens: int, mask: Tensor | None) -> Tensor:
    """Mark the first token of each document; padding may have any position."""
    if tuple(position_ids.shape) != (batch, tokens):
        raise ShapeError(f"position_ids: expected [{batch}, {tokens}], got {list(position_ids.shape)}")
    valid = torch.ones_like(position_ids, dtype=torch.bool) if mask is None else mask
    before = F.pad(last_tokens(valid), (1, -1), value=-1)
    goes_on = (before >= 0) & (position_ids == position_ids.gather(1, before.clamp(min=0)) + 1)
    begins = valid & (position_ids == 0)
    wrong = valid & ~begins & ~goes_on
    if bool(wrong.any()):
        row, column = (int(value) for value in wrong.nonzero()[0])
        raise ShapeError(
            f"position_ids: expected to begin with 0 in every document and to count up by 1, got "
            f"{int(position_ids[row, column])} in row {row}, column {column}"
        )
    return begins
