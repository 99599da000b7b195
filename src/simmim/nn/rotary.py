"""Rotary position embedding (RoFormer, arXiv 2104.09864) for positions of any size."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from simmim.ops.layout import SegmentLayout
from simmim.ops.options import AttentionOptions

__all__ = ["Rotary", "rotary_embedding", "rotary_of", "rotate", "rotate_token", "slot_rotary", "token_rotary_embedding"]

Rotary = tuple[Float[Tensor, "*P R"], Float[Tensor, "*P R"]]
"""Cosine and sine of the angle of each of the R = D/2 channel pairs."""


def rotary_embedding(
    positions: Shaped[Tensor, "*P"], head_dim: int, theta: float, dtype: torch.dtype, *, pairs: int | None = None
) -> Rotary:
    """Return cosine and sine of the angle of every channel pair at every position.

    Angles are float64: in float32 the phase of position 1,000,000 would be off by 0.03 rad.

    Args:
        positions: any shape, integer or float.
        head_dim: D.
        theta: the base; pair c is rotated by theta^(-2c/D) a position (eq. 15).
        dtype: of the result.
        pairs: how many are rotated, the fastest; None for all. The others are not (p-RoPE, arXiv 2410.06205).
    """
    angles = positions.double()[..., None] * _frequencies(head_dim, theta, pairs, positions.device)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotary_of(options: AttentionOptions, positions: Shaped[Tensor, "*P"], dtype: torch.dtype) -> Rotary | None:
    """Return what ``rotate`` rotates the heads of a layer at these positions by: None if it has no rotary positions."""
    if not options.rotary_pairs:
        return None
    return rotary_embedding(positions, options.head_dim, options.rope_theta, dtype, pairs=options.rotary_pairs)


def slot_rotary(options: AttentionOptions, layout: SegmentLayout, dtype: torch.dtype) -> Rotary | None:
    """Return the rotary embedding of every slot; layers that share a layout share it too."""
    kind = ("rotary", options.rotary_pairs, options.head_dim, options.rope_theta, dtype)
    rotary: Rotary | None = layout.memo(kind, _slot_rotary, options, layout, dtype)
    return rotary


def _slot_rotary(options: AttentionOptions, layout: SegmentLayout, dtype: torch.dtype) -> Rotary | None:
    return rotary_of(options, layout.positions, dtype)


def rotate(x: Float[Tensor, "*P H D"], rotary: Rotary | None) -> Float[Tensor, "*P H D"]:
    """Rotate the channel pairs (c, c + D/2) of every head (eq. 34); None rotates nothing."""
    if rotary is None:
        return x
    cos, sin = rotary[0][..., None, :], rotary[1][..., None, :]
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def token_rotary_embedding(
    positions: Int[Tensor, " U"], head_dim: int, theta: float, dtype: torch.dtype, pairs: int
) -> tuple[Float[Tensor, "U 1 D"], Float[Tensor, "U 1 D"]]:
    """Return the ``rotary_embedding`` of single tokens as ``rotate_token`` takes it: for every channel, for every head.

    The sine of the first channel of each pair is negative, as ``rotate`` subtracts it there.
    """
    frequencies = torch.tensor(
        _signed_frequencies(head_dim, theta, pairs), dtype=torch.float64, device=positions.device
    )
    angles = positions.double()[:, None, None] * frequencies
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate_token(x: Float[Tensor, "*B H D"], rotary: tuple[Tensor, Tensor]) -> Float[Tensor, "*B H D"]:
    """Rotate as ``rotate`` does, in as few operations as can be: of a single token they cost more than its numbers.

    Args:
        x: heads of one token of each document.
        rotary: the ``token_rotary_embedding`` of each document's position, or of the one that all share.
    """
    # Moved by D/2, every channel has its partner at its index: (a, b) cos + (b, a) (-sin, sin).
    return torch.addcmul(x * rotary[0], x.roll(x.shape[-1] // 2, -1), rotary[1])


def _frequencies(head_dim: int, theta: float, pairs: int | None, device: torch.device | str) -> Float[Tensor, " R"]:
    """Return the angle of every channel pair for one position more."""
    half = head_dim // 2
    frequencies = theta ** -(torch.arange(half, dtype=torch.float64, device=device) / half)
    if pairs is not None:
        frequencies[pairs:] = 0
    return frequencies


@lru_cache
def _signed_frequencies(head_dim: int, theta: float, pairs: int) -> tuple[float, ...]:
    """Return the frequency of every channel, negative for the first of each pair.

    Plain numbers: a tensor that is kept may be a fake one, made while a graph was traced.
    """
    half = head_dim // 2
    frequencies = [theta ** -(pair / half) if pair < pairs else 0.0 for pair in range(half)]
    return (*(-frequency for frequency in frequencies), *frequencies)
