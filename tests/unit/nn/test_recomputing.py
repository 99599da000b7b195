"""What a layer's backward pass computes again: the same gradients bit for bit, from less memory, wherever it may."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu

import simmim.nn.block
import simmim.nn.tokenwise
from simmim import SimMIMConfig, SimMIMForCausalLM, SimMIMModel
from simmim.nn.recomputing import is_recomputing, recomputed, recomputing
from simmim.nn.tokenwise import GatedFFN, RMSNorm

SIZES = {"vocab_size": 32, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "segment_length": 8}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give a function that lets autograd keep everything from now on."""

    def keep_all() -> None:
        for module in (simmim.nn.block, simmim.nn.tokenwise):
            monkeypatch.setattr(module, "recomputing", nullcontext)

    return keep_all


def kept_bytes(function: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """Return what a function returns, and how many bytes more are in use then."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        out = function()
    return out, sum(event.self_cpu_memory_usage for event in profile.key_averages())


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return SimMIMModel(SimMIMConfig(**SIZES), add_pooling_layer=False)


def decoder() -> nn.Module:
    torch.manual_seed(0)
    return SimMIMForCausalLM(SimMIMConfig(**SIZES, is_encoder_decoder=False))


def gradients(model: nn.Module, ids: Tensor, mask: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Return the gradients of all parameters in one step."""
    model = nn.Module.to(model, dtype)
    out = model(input_ids=ids, attention_mask=mask)
    (out.logits if hasattr(out, "logits") else out.last_hidden_state)[mask.bool()].square().sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("make", [encoder, decoder])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[64, 64], [61, 9]], ids=["full", "ragged"])
def test_gradients_are_the_same_bit_for_bit(
    make: Callable[[], nn.Module], dtype: torch.dtype, lengths: list[int], without: Callable[[], None]
) -> None:
    ids = torch.randint(3, 32, (2, 64), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(64) < torch.tensor(lengths)[:, None]).long()
    lean = gradients(make(), ids, mask, dtype)
    without()
    for one, other in zip(lean, gradients(make(), ids, mask, dtype), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("make", [encoder, decoder])
def test_a_layer_keeps_13_numbers_a_token_and_channel(
    make: Callable[[], nn.Module], without: Callable[[], None]
) -> None:
    ids, tokens = torch.randint(3, 32, (1, 2048), generator=torch.Generator().manual_seed(1)), 2048 * 64 * 4

    def kept() -> float:
        sizes = []
        for layers in (1, 3):
            torch.manual_seed(0)
            model = type(make())(SimMIMConfig(**SIZES | {"num_hidden_layers": layers, "num_decoder_layers": layers}))
            sizes.append(kept_bytes(lambda model=model: model(input_ids=ids)[0])[1])
        return (sizes[1] - sizes[0]) / 2 / tokens

    lean = kept()
    without()
    assert kept() > 20
    assert lean < 14


def test_an_ffn_keeps_gate_and_up_and_a_norm_its_input() -> None:
    x = torch.randn(512, 64, requires_grad=True)
    ffn, norm = GatedFFN(64, 128), RMSNorm(64, 1e-6)
    out, kept = kept_bytes(lambda: ffn(x))
    assert kept == out.nbytes + 2 * 512 * 128 * 4

    def normed() -> Tensor:
        with recomputing():
            return norm(x)

    out, kept = kept_bytes(normed)
    assert kept == out.nbytes + 512 * 4, "one scale a token"


def test_second_derivatives_are_right() -> None:
    ffn, norm = GatedFFN(4, 6).double(), RMSNorm(4, 1e-6).double()

    def function(x: Tensor) -> Tensor:
        with recomputing():
            return torch.as_tensor(ffn(norm(x)))

    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


def test_a_graph_that_is_kept_may_be_gone_through_twice() -> None:
    ffn, x = GatedFFN(8, 16), torch.randn(4, 8, requires_grad=True)
    loss = ffn(x).square().sum()
    first = torch.autograd.grad(loss, x, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, x)[0])


def test_what_is_recomputed_of_what_is_recomputed_keeps_only_the_first() -> None:
    x = torch.randn(1000, requires_grad=True)

    def chain() -> Tensor:
        with recomputing():
            return recomputed(torch.tanh, recomputed(torch.exp, x)).sin()

    out, kept = kept_bytes(chain)
    assert kept <= out.nbytes + 2 * 4000  # tanh and exp keep their results, which are recomputed
    out.sum().backward()
    expected = x.detach().clone().requires_grad_()
    expected.exp().tanh().sin().sum().backward()
    assert torch.equal(x.grad, expected.grad)


def test_nothing_changes_where_others_decide_what_is_kept() -> None:
    x = torch.randn(4, 8, requires_grad=True)
    with recomputing():
        assert is_recomputing()
    with torch.no_grad(), recomputing():
        assert not is_recomputing()
    with save_on_cpu(), recomputing():
        assert not is_recomputing()
    ffn = GatedFFN(8, 16)
    found = torch.func.grad(lambda x: ffn(x).sum())(x.detach())
    torch.testing.assert_close(found.detach(), torch.autograd.grad(ffn(x).sum(), x)[0])
    assert not is_recomputing()


def test_tensors_without_numbers_are_no_others() -> None:
    """All of them have the address 0."""
    empty, mask = torch.zeros(0, 4, requires_grad=True), torch.zeros(0, 4, dtype=torch.bool)
    with recomputing():
        out = recomputed(torch.exp, empty)
        torch.where(mask, out, out).sum().backward()
    assert empty.grad.shape == (0, 4)


def test_an_error_in_the_block_ends_it() -> None:
    with pytest.raises(RuntimeError, match="shape"), recomputing():
        GatedFFN(8, 16)(torch.randn(4, 7, requires_grad=True))
    assert not is_recomputing()
