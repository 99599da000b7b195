"""Applies a function of rows part by part, so that what it makes inside stays small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

__all__ = ["by_rows", "by_tokens"]

LIMIT = 1 << 21
"""Most numbers of a part: 8 MiB in float32."""


def by_rows(function: Callable[..., Tensor], *tensors: Shaped[Tensor, "R ..."], width: int) -> Shaped[Tensor, "R ..."]:
    """Return ``function(*tensors)`` for a function that treats every row alike.

    Args:
        function: gets the same rows of every tensor.
        tensors: each of R rows.
        width: numbers that the function makes of a row at a time; parts have at most ``LIMIT`` of them.
    """
    if torch.compiler.is_exporting():  # for any number of rows
        return function(*tensors)
    rows = tensors[0].shape[0]
    size = max(1, LIMIT // max(1, width))
    if rows <= size:
        return function(*tensors)
    if torch.is_grad_enabled():
        if tensors[0].device.type != "cpu" or torch.compiler.is_compiling():
            return function(*tensors)
        # A CPU takes large pieces of memory from the system each time, which costs more than the parts do.
        pieces = zip(*(tensor.split(size) for tensor in tensors), strict=True)
        return torch.cat([function(*piece) for piece in pieces])
    out = None
    for start in range(0, rows, size):
        part = function(*(tensor[start : start + size] for tensor in tensors))
        if out is None:
            out = part.new_empty(rows, *part.shape[1:])
        out[start : start + size] = part
    assert out is not None
    return out


def by_tokens(function: Callable[[Tensor], Tensor], tokens: Float[Tensor, "*B E"]) -> Float[Tensor, "*B E"]:
    """Return ``function(tokens)`` for a function that treats every token alike, such as a norm or an FFN."""
    if not torch.compiler.is_exporting() and tokens.shape[-2] == 1:  # while decoding, where every call counts
        return function(tokens)
    return by_rows(function, tokens.flatten(0, -2), width=8 * tokens.shape[-1]).view_as(tokens)
