"""The token embedding, which may be scaled so that what a token is stands out from what the first layers add."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["TokenEmbedding"]


class TokenEmbedding(nn.Embedding):
    """Look up vectors, times a factor: √E in Vaswani et al. (arXiv 1706.03762, §3.4), where head and embedding are one.

    Args:
        vocab_size: V.
        hidden_size: E.
        scale: the factor.
    """

    def __init__(self, vocab_size: int, hidden_size: int, scale: float = 1.0) -> None:
        super().__init__(vocab_size, hidden_size)
        self.scale = scale

    def forward(self, input: Int[Tensor, "*B"]) -> Float[Tensor, "*B E"]:
        """Return the scaled vectors of ids."""
        found: Tensor = super().forward(input)
        return found if self.scale == 1 else found * self.scale

    def extra_repr(self) -> str:
        """Say the factor, too."""
        return f"{super().extra_repr()}, scale={self.scale:g}"
