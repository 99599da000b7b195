"""Lays out a model's weights as a CPU decodes single tokens fastest (decision 0015)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["as_trained", "lay_out_for_decoding"]

Module = TypeVar("Module", bound=nn.Module)


def lay_out_for_decoding(model: Module) -> Module:
    """Lay out a model that is only to decode, and no longer to be trained, so that single tokens take less time.

    The product of one vector with a matrix ``[O, E]`` reads O rows of E numbers, too short for a processor to read
    ahead. Where there are more rows than columns, of the head over the vocabulary above all, it is faster to add up
    columns that lie in one piece each: on a CPU, float32 weights of ``nn.Linear``, and embeddings tied to them, come to
    lie column by column. Values, shapes and names stay the same.

    Args:
        model: any model. It is changed in place, while nothing else uses it. Its parameters ask for no gradient any
            more: optimizers take it that weights lie as they did.

    Returns:
        The model.
    """
    model.requires_grad_(False)
    for weight in _weights(model):
        if weight.shape[0] > weight.shape[1] and weight.is_contiguous():
            _lay_out(weight)
    return model


@contextmanager
def as_trained(model: nn.Module) -> Iterator[None]:
    """Let weights lie row by row for a while, as those who save them expect it."""
    laid_out = [weight for weight in _weights(model) if not weight.is_contiguous() and weight.t().is_contiguous()]
    with torch.inference_mode(False):
        for weight in laid_out:
            weight.data = weight.data.contiguous()
    try:
        yield
    finally:
        for weight in laid_out:
            _lay_out(weight)


def _weights(model: nn.Module) -> Iterator[Tensor]:
    """Yield what can be laid out; a weight that is shared comes once for each module, with what became of it before."""
    for module in model.modules():
        weight = module.weight if type(module) is nn.Linear else None
        if weight is not None and weight.device.type == "cpu" and weight.dtype == torch.float32:
            yield weight


def _lay_out(weight: Tensor) -> None:
    """Let a weight lie column by column."""
    with torch.inference_mode(False):
        weight.data = weight.data.t().contiguous().t()
