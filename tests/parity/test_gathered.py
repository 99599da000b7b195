"""Gradients of attention to gathered keys, in the precision that trains, beside the same in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from simmim.ops.attention import Piece, gathered_attention

SEGMENTS, LENGTH, HEADS, WIDTH, STATES = 9, 16, 2, 8, 5


def inputs() -> tuple[list[Tensor], list[Piece], Tensor]:
    """Return q, k, v and the keys and values of states, in float64; what is read, and a mask with gaps."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = [drawn(SEGMENTS, LENGTH, HEADS, WIDTH) for _ in range(3)]
    tensors += [drawn(STATES, 1, HEADS, WIDTH) for _ in range(2)]
    before = torch.arange(SEGMENTS).sub(1).clamp(min=0)
    read = torch.randint(STATES, (SEGMENTS, 3), generator=generator)
    mask = torch.rand(SEGMENTS, LENGTH, 2 * LENGTH + 3, generator=generator) < 0.7
    mask[..., 0] = True
    return tensors, [Piece(0, None), Piece(0, before), Piece(1, read)], mask


def gradients(tensors: list[Tensor], pieces: list[Piece], mask: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Return the gradients of a weighted sum of what is read, in float64."""
    q, k, v, state_k, state_v = (tensor.to(dtype).requires_grad_() for tensor in tensors)
    out = gathered_attention(q, [k, state_k], [v, state_v], pieces, mask)
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out).to(dtype)
    return [grad.double() for grad in torch.autograd.grad(out, (q, k, v, state_k, state_v), weight)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_are_as_exact_as_those_of_the_plain_formula(dtype: torch.dtype) -> None:
    """An error at most twice that of the plain formula in the same precision."""
    tensors, pieces, mask = inputs()
    tensors = [tensor.to(dtype).double() for tensor in tensors]
    with sdpa_kernel(SDPBackend.MATH):
        exact = gradients(tensors, pieces, mask, torch.float64)
        plain = gradients(tensors, pieces, mask, dtype)
    for found, naive, wanted in zip(gradients(tensors, pieces, mask, dtype), plain, exact, strict=True):
        assert (found - wanted).norm() <= 2 * (naive - wanted).norm()
        assert (found - wanted).abs().max() <= 2 * (naive - wanted).abs().max()
