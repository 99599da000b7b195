"""Decides whether a run that asks for bfloat16 computes in it."""

from __future__ import annotations

import logging

import torch

__all__ = ["computes_in_bfloat16"]

logger = logging.getLogger(__name__)


def computes_in_bfloat16(wanted: bool, *, on_cpu: bool) -> bool:
    """Say whether to compute in bfloat16: where it is wanted, unless the processor would only imitate it.

    Without the instructions for it (on x86 AVX-512 or newer ones), a product of matrices in bfloat16 took 26 times as
    long as in float32. There float32 is taken, with a warning: it is more exact and faster.

    Args:
        wanted: what the recipe or the command says.
        on_cpu: whether the run computes on the processor, not on an accelerator.
    """
    if not wanted or not on_cpu or _has_bfloat16():
        return wanted
    logger.warning(
        "bf16: this processor has no instructions for bfloat16 and would take many times as long; the run computes in "
        "float32"
    )
    return False


def _has_bfloat16() -> bool:
    """Say whether products of matrices on this processor have instructions that bfloat16 gains by."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
