"""The norm of the residual stream, in as few operations as can be where there is a single token."""

from __future__ import annotations

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
        _keep_constants(eps, hidden_size)

    def forward(self, x: Float[Tensor, "*B E"]) -> Float[Tensor, "*B E"]:
        """Norm every vector."""
        constants = None
        if not _is_traced(x) and x.numel() <= FEW and x.dtype == torch.float32 and x.device.type == "cpu":
            constants = None if torch.is_grad_enabled() else _CONSTANTS.get((self.eps, x.shape[-1]))
        if constants is None:
            return super().forward(x)
        zero, least = constants
        length = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), least)
        return torch.addcdiv(zero, x * self.weight, length, value=x.shape[-1] ** 0.5)


_CONSTANTS: dict[tuple[float, int], tuple[Float[Tensor, ""], Float[Tensor, ""]]] = {}
"""0, and √(eps · width), as numbers that no operation has to make first; ``forward`` only reads them."""


def _keep_constants(eps: float, width: int) -> None:
    """Make the constants of a norm, unless what tensors are made of now is of no use outside (a fake mode's)."""
    with torch.inference_mode(False):
        made = torch.zeros((), device="cpu"), torch.tensor((eps * width) ** 0.5, device="cpu")
    if all(type(tensor) is Tensor for tensor in made):
        _CONSTANTS.setdefault((eps, width), made)


def _is_traced(x: Tensor) -> bool:
    """Tell whether a graph is being made, which is to hold one norm and no trick of ours (ONNX has no ``hypot``)."""
    return type(x) is not Tensor or torch.compiler.is_compiling() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined]
