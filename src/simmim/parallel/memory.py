"""Cross-attention to an encoder's output that several ranks hold: one softmax, of which each rank adds its part.

Every rank decodes the same targets, and no key or value is sent: with B documents, R targets of T tokens, H heads and
the width E, each layer adds up R·T·(E + 2H) numbers.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor, nn

from simmim.errors import ConfigError
from simmim.nn.cross_attention import CrossAttention, OnWeights
from simmim.parallel.attention import Current, derive
from simmim.parallel.collectives import all_sum

__all__ = ["parallel_memory"]


class _ParallelCrossAttention(CrossAttention):
    current: Current

    def _read(
        self,
        q: Float[Tensor, "B H N D"],
        projected: tuple[Tensor, ...],
        memory_mask: Bool[Tensor, "B M1"] | None,
        on_weights: OnWeights | None,
    ) -> Float[Tensor, "B H N D"]:
        shares = self.current.shares
        assert shares is not None and on_weights is None
        keys, values = projected
        # Not the mask that is given: that lets a document read its padding where this rank has nothing else of it.
        scores = (q @ keys.transpose(2, 3) * q.shape[-1] ** -0.5).masked_fill(
            ~shares.mask[:, None, None], float("-inf")
        )
        largest = scores.detach().amax(-1, keepdim=True)
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=shares.ranks.group)
        shares.ranks.count("memory", 2 * (shares.ranks.size - 1) * largest.numel() // shares.ranks.size, largest)
        weights = (scores - largest.masked_fill(largest.isinf(), 0)).exp()
        parts = torch.cat((weights @ values, weights.sum(-1, keepdim=True)), dim=-1)
        read = all_sum(parts, shares.ranks, "memory")
        # A document without tokens is read as zeros.
        return read[..., :-1] / read[..., -1:].masked_fill(read[..., -1:] == 0, 1)


def parallel_memory(module: nn.Module | None, current: Current) -> None:
    """Let a decoder layer read a memory of which each rank has the vectors of its own tokens.

    Raises:
        ConfigError: it reads another memory than all tokens.
    """
    if type(module) is not CrossAttention:
        raise ConfigError(f"memory: expected 'tokens' in a segment-parallel model, got {type(module).__name__}")
    derive(module, _ParallelCrossAttention, current)
