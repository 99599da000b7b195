"""Rotary position embedding (RoFormer, arXiv 2104.09864) for positions of any size."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

__all__ = ["Turn", "rotary_turn", "rotate"]

Turn = tuple[Float[Tensor, "*P R"], Float[Tensor, "*P R"]]
"""Cosine and sine of the angle of each of the R = D/2 channel pairs."""


def rotary_turn(positions: Shaped[Tensor, "*P"], head_dim: int, theta: float, dtype: torch.dtype) -> Turn:
    """Return by how much every channel pair turns at every position.

    Angles are float64: in float32 the phase of position 1,000,000 would be off by 0.03 rad.

    Args:
        positions: any shape, integer or float.
        head_dim: D.
        theta: the base; pair c turns by theta^(-2c/D) a position (eq. 15).
        dtype: of the result.
    """
    half = head_dim // 2
    steps = torch.arange(half, dtype=torch.float64, device=positions.device) / half
    angles = positions.double()[..., None] * theta**-steps
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Float[Tensor, "*P H D"], turn: Turn | None) -> Float[Tensor, "*P H D"]:
    """Turn the channel pairs (c, c + D/2) of every head; None turns nothing."""
    if turn is None:
        return x
    cos, sin = (table[..., None, :] for table in turn)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
