"""Torch's fused attention, but on CUDA never by the kernel that plans anew for every shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(
    q: Float[Tensor, "B H N D"],
    k: Float[Tensor, "B H K D"],
    v: Float[Tensor, "B H K D"],
    attn_mask: Bool[Tensor, "#B #H #N K"] | Float[Tensor, "#B #H #N K"] | None = None,
    *,
    is_causal: bool = False,
) -> Float[Tensor, "B H N D"]:
    """Return softmax(q kᵀ / √D + mask) v, as torch's function of this name does.

    On Hopper GPUs torch prefers cuDNN, which plans for hundreds of milliseconds whenever it meets a new shape, and here
    nearly every batch has one: how many segments and states there are depends on the documents
    (``docs/decisions/0009-no-cudnn-plans.md``). Whoever allows cuDNN alone (``torch.nn.attention.sdpa_kernel``), or
    compiles, gets it.

    Args:
        q: queries.
        k: keys.
        v: values.
        attn_mask: true where a key may be read, or what is added to the scores.
        is_causal: a query reads no later key.
    """
    if q.device.type != "cuda" or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, is_causal=is_causal)
    with _without_cudnn():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, is_causal=is_causal)


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Take cuDNN's attention out of torch's choice for a while, unless it is the only one."""
    kernels = torch.backends.cuda
    others = kernels.flash_sdp_enabled() or kernels.mem_efficient_sdp_enabled() or kernels.math_sdp_enabled()
    if not (others and kernels.cudnn_sdp_enabled()):
        yield
        return
    kernels.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        kernels.enable_cudnn_sdp(True)
