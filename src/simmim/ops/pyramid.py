"""Which nodes of one pyramid level meet in the next: pairs, and the odd one out (source §3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["Pairing", "pair_up"]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Says how the nodes of all documents' level h-1 make level h.

    Attributes:
        left: ``[S']`` for each new node, the row of its left child.
        right: ``[S']`` the row of its right child; where it has none, the row of the left one.
        paired: ``[S']`` true where there are two children.
        counts: ``[B]`` new nodes of each document.
    """

    left: Int[Tensor, " T"]
    right: Int[Tensor, " T"]
    paired: Tensor
    counts: Int[Tensor, " B"]


def pair_up(counts: Int[Tensor, " B"]) -> Pairing:
    """Pair the nodes 2i and 2i+1 (from 0) of every document; a last node without a partner stays alone.

    Args:
        counts: ``[B]`` nodes of each document; they stand one document after the other.
    """
    above = (counts + 1) // 2
    first = (counts.cumsum(0) - counts).repeat_interleave(above)
    number = torch.arange(len(first), device=counts.device) - (above.cumsum(0) - above).repeat_interleave(above)
    left = first + 2 * number
    paired = 2 * number + 1 < counts.repeat_interleave(above)
    return Pairing(left=left, right=left + paired.long(), paired=paired, counts=above)
