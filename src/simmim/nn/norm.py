"""The norm of the residual stream, in as few operations as can be where there is a single token."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["RMSNorm"]

FEW = 1 << 14
"""Numbers that cost less than the operations do."""


class RMSNorm(nn.RMSNorm):
    """x / √(mean(x²) + eps) · weight over the last dimension (arXiv 1910.07467), as ``torch.nn.RMSNorm`` has it.

    Of a single token its many small operations cost more than its numbers: while decoding on a CPU there are four.

    Args:
        hidden_size: E.
        eps: added to the mean of the squares.
    """

    weight: nn.Parameter
    eps: float

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__(hidden_size, eps=eps)

    def forward(self, x: Float[Tensor, "*B E"]) -> Float[Tensor, "*B E"]:
        """Norm every vector."""
        if x.numel() > FEW or x.dtype != torch.float32 or torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x)
        zero, least = _constants(self.eps, x.shape[-1])
        length = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), least)
        return torch.addcdiv(zero, x * self.weight, length, value=x.shape[-1] ** 0.5)


@lru_cache
def _constants(eps: float, width: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return 0, and √(eps · width), as numbers that no operation has to make first."""
    with torch.inference_mode(False):
        return torch.zeros((), device="cpu"), torch.tensor((eps * width) ** 0.5, device="cpu")
