"""Attention that copies no key beside the gathered softmax: outputs and gradients, in every layout and chunk."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import simmim.ops.smi
import simmim.ops.windowed
from simmim import SMIAttention
from simmim.ops.layout import SegmentLayout
from simmim.ops.windowed import is_supported

E, L = 16, 4
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "pyramid": {"state_reach": "pyramid"},
    "no states": {"state_read": "none"},
    "no neighbours": {"neighbours": 0},
    "shifted": {"segment_shift": 3},
    "shared weight": {"state_weight": "shared"},
    "few states trained": {"trained_states": 2},
}
LENGTHS = {
    "one": [29],
    "ragged": [29, 1, 16, 4, 9],
    "one with many segments": [3, 64, 2],
    "short": [2, 3],
}


def attention(causal: bool, **options: Any) -> SMIAttention:
    torch.manual_seed(0)
    return SMIAttention(E, 2, L, causal=causal, **options).double()


def both(layer: SMIAttention, x: Tensor, mask: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """Return the output without and with gradients, and the gradients, by either way."""
    found = []
    for supported in (is_supported, lambda q: False):
        monkeypatch.setattr(simmim.ops.smi, "is_supported", supported)
        with torch.no_grad():
            plain = layer(x, mask)
        leaf = x.clone().requires_grad_()
        out = layer(leaf, mask)
        weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
        trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        grads = torch.autograd.grad(out, (leaf, *trained), weight, allow_unused=True)
        found.append([plain, out, *(grad for grad in grads if grad is not None)])
    return found


@pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("limit", [1, 3000, 1 << 21])
def test_outputs_and_gradients_are_those_of_the_gathered_softmax(
    causal: bool, options: dict[str, Any], lengths: list[int], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simmim.ops.windowed, "LIMIT", limit)
    monkeypatch.setattr("simmim.ops.attention.GATHER_LIMIT", 64 * limit)  # rows of the layer's own chunks
    x = torch.randn(len(lengths), max(lengths), E, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ours, gathered = both(attention(causal, **options), x, mask, monkeypatch)
    assert len(ours) == len(gathered)
    for one, other in zip(ours, gathered, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("left", [False, True], ids=["padded right", "padded left"])
def test_packed_and_padded_documents(left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = attention(True)
    lengths = torch.tensor([21, 6])
    mask = torch.arange(21) < lengths[:, None]
    x = torch.randn(2, 21, E, dtype=torch.float64)
    ours, gathered = both(layer, x, mask.flip(1) if left else mask, monkeypatch)
    for one, other in zip(ours, gathered, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    packed = torch.cat([row[:length] for row, length in zip(x, lengths, strict=True)])[None]
    layout = SegmentLayout.packed(lengths, L, causal=True)
    monkeypatch.setattr(simmim.ops.smi, "is_supported", is_supported)
    expected = layer(x, mask)
    torch.testing.assert_close(layer(packed, layout=layout)[0], torch.cat([expected[0, :21], expected[1, :6]]))


def test_gradients_are_right() -> None:
    layer, mask = attention(False), torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    x = torch.randn(2, 9, E, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, mask), x)


def test_huge_scores_give_no_nan() -> None:
    layer = attention(False).float()
    x = (1e4 * torch.randn(1, 33, E)).requires_grad_()
    out = layer(x)
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad.isfinite().all()


def test_it_gives_way_where_it_would_be_less_exact_or_is_not_wanted() -> None:
    q = torch.randn(1, 4, 2, 8)
    assert is_supported(q)
    assert is_supported(q.double())
    assert not is_supported(q.bfloat16())
    assert not is_supported(q.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_supported(q)
    with sdpa_kernel(SDPBackend.MATH):
        assert not is_supported(q)
