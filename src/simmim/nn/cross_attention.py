"""Cross-attention of decoder tokens to the encoder's memory."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["CrossAttention"]


class CrossAttention(nn.Module):
    """Multi-head attention to a memory of M vectors; positions come with the memory's vectors, not from here.

    Args:
        hidden_size: E.
        num_heads: H.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def project_memory(
        self, memory: Float[Tensor, "B M E"]
    ) -> tuple[Float[Tensor, "B H M D"], Float[Tensor, "B H M D"]]:
        """Return the memory's keys and values, which are the same for every decoded token."""
        return self._split(self.k_proj(memory)), self._split(self.v_proj(memory))

    def forward(
        self,
        hidden_states: Float[Tensor, "B N E"],
        keys: Float[Tensor, "B H M D"],
        values: Float[Tensor, "B H M D"],
        memory_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N E"]:
        """Attend to the memory where ``memory_mask`` is true; every document has at least one such vector."""
        mask = None if memory_mask is None else memory_mask[:, None, None].expand(-1, -1, hidden_states.shape[1], -1)
        q = self._split(self.q_proj(hidden_states))
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        projected: Tensor = self.o_proj(out.transpose(1, 2).flatten(-2))
        return projected

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
