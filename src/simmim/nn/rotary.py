"""Rotary position embedding (RoFormer, arXiv 2104.09864) for positions of any size."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

__all__ = ["Turn", "few_turn", "rotary_turn", "rotate", "rotate_few"]

Turn = tuple[Float[Tensor, "*P R"], Float[Tensor, "*P R"]]
"""Cosine and sine of the angle of each of the R = D/2 channel pairs."""


def rotary_turn(
    positions: Shaped[Tensor, "*P"], head_dim: int, theta: float, dtype: torch.dtype, *, pairs: int | None = None
) -> Turn:
    """Return by how much every channel pair turns at every position.

    Angles are float64: in float32 the phase of position 1,000,000 would be off by 0.03 rad.

    Args:
        positions: any shape, integer or float.
        head_dim: D.
        theta: the base; pair c turns by theta^(-2c/D) a position (eq. 15).
        dtype: of the result.
        pairs: how many turn, the fastest; None for all. The others stand still (p-RoPE, arXiv 2410.06205).
    """
    angles = positions.double()[..., None] * _speeds(head_dim, theta, pairs, positions.device)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Float[Tensor, "*P H D"], turn: Turn | None) -> Float[Tensor, "*P H D"]:
    """Turn the channel pairs (c, c + D/2) of every head; None turns nothing."""
    if turn is None:
        return x
    cos, sin = (table[..., None, :] for table in turn)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def few_turn(
    positions: Int[Tensor, " U"], head_dim: int, theta: float, dtype: torch.dtype, pairs: int
) -> tuple[Float[Tensor, "U 1 D"], Float[Tensor, "U 1 D"]]:
    """Return the ``rotary_turn`` of single tokens as ``rotate_few`` takes it: for every channel, and for every head."""
    speeds = torch.tensor(_signed_speeds(head_dim, theta, pairs), dtype=torch.float64, device=positions.device)
    angles = positions.double()[:, None, None] * speeds
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _speeds(head_dim: int, theta: float, pairs: int | None, device: torch.device | str) -> Float[Tensor, " R"]:
    """Return by how much every channel pair turns a position."""
    half = head_dim // 2
    speed = theta ** -(torch.arange(half, dtype=torch.float64, device=device) / half)
    if pairs is not None:
        speed[pairs:] = 0
    return speed


@lru_cache
def _signed_speeds(head_dim: int, theta: float, pairs: int) -> tuple[float, ...]:
    """Return the speed of every channel, the first of each pair the other way round.

    Plain numbers: a tensor that is kept may be a fake one, made while a graph was traced.
    """
    half = head_dim // 2
    speeds = [theta ** -(pair / half) if pair < pairs else 0.0 for pair in range(half)]
    return (*(-speed for speed in speeds), *speeds)


def rotate_few(x: Float[Tensor, "*B H D"], turn: tuple[Tensor, Tensor]) -> Float[Tensor, "*B H D"]:
    """Turn as ``rotate`` does, in as few operations as can be: of a single token they cost more than its numbers.

    Args:
        x: heads of one token of each document.
        turn: a ``few_turn`` of each document's position, or of one for all.
    """
    return torch.addcmul(x * turn[0], x.roll(x.shape[-1] // 2, -1), turn[1])
