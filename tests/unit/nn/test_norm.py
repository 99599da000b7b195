"""The norm of few numbers says what torch's says, and gives way to it where gradients or other dtypes are wanted."""

from __future__ import annotations

import pytest
import torch

from simmim.nn.tokenwise import FEW, RMSNorm

E = 24


@pytest.fixture
def norms() -> tuple[RMSNorm, torch.nn.RMSNorm]:
    """Our norm, and torch's with the same weights."""
    torch.manual_seed(0)
    ours, torchs = RMSNorm(E, eps=1e-3), torch.nn.RMSNorm(E, eps=1e-3)
    torch.nn.init.normal_(ours.weight)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


@pytest.mark.parametrize("shape", [(E,), (3, E), (2, 1, E), (0, 1, E), (FEW // E + 1, E)], ids=str)
def test_few_vectors_are_normed_as_torch_does(shape: tuple[int, ...], norms: tuple[RMSNorm, torch.nn.RMSNorm]) -> None:
    ours, torchs = norms
    with torch.no_grad():
        for scale in (0.0, 1e-6, 1.0, 1e6):
            x = torch.randn(shape) * scale
            torch.testing.assert_close(ours(x), torchs(x), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_are_torchs(dtype: torch.dtype, norms: tuple[RMSNorm, torch.nn.RMSNorm]) -> None:
    ours, torchs = (norm.to(dtype) for norm in norms)
    x = torch.randn(2, E, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(ours(x), torchs(x))


def test_gradients_flow_after_a_call_without_them(norms: tuple[RMSNorm, torch.nn.RMSNorm]) -> None:
    ours, torchs = norms
    x = torch.randn(2, E)
    with torch.inference_mode():
        ours(x)
    gradients = []
    for norm in (ours, torchs):
        leaf = x.clone().requires_grad_()
        norm(leaf).square().sum().backward()
        gradients.append((leaf.grad, norm.weight.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
