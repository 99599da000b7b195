"""The loss that never holds all logits is the loss of the logits, in value and gradient, and no less precise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from simmim import ShapeError, SimMIMForCausalLM, SimMIMForConditionalGeneration
from simmim.models import losses
from simmim.models.losses import head_loss, token_loss
from support import small_config


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_PART_ON_CPU", 7 * 11)  # several parts, the last one short


def example(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 9, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 11, (3, 9), generator=generator)
    labels[0, :4] = labels[2, 8] = -100
    return hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), labels


def both(dtype: torch.dtype, num_items: int | None = None) -> list[tuple[Tensor, ...]]:
    found = []
    for loss_of in (head_loss, lambda hidden, weight, *rest: token_loss(hidden @ weight.T, *rest)):
        hidden, weight, labels = example(dtype)
        loss = loss_of(hidden, weight, labels, num_items)
        (3 * loss).backward()
        found.append((loss.detach(), hidden.grad, weight.grad))
    return found


@pytest.mark.parametrize("num_items", [None, 50])
def test_it_is_the_loss_of_the_logits(num_items: int | None) -> None:
    # token_loss itself is float32
    for ours, theirs in zip(*both(torch.float64, num_items), strict=True):
        torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.contract
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_errs_at_most_twice_as_much_as_the_logits(dtype: torch.dtype) -> None:
    """Contract 8: half precision is no worse than twice the naive form in the same dtype."""
    ours, theirs = both(dtype)
    for exact, one, other in zip(both(torch.float64)[0], ours, theirs, strict=True):
        naive = (other.double() - exact).abs().max()
        rounding = torch.finfo(one.dtype).eps * exact.abs().max()  # of the result, if the naive form was lucky
        assert (one.double() - exact).abs().max() <= 2 * naive + rounding
        assert one.dtype == other.dtype


def test_nothing_to_predict_is_no_loss() -> None:
    hidden, weight, labels = example(torch.float32)
    loss = head_loss(hidden, weight, torch.full_like(labels, -100))
    loss.backward()
    assert loss == 0
    assert not hidden.grad.any()
    with pytest.raises(ShapeError, match="labels: expected classes from 0 to 10"):
        head_loss(hidden, weight, labels + 1)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize("head", [SimMIMForCausalLM, SimMIMForConditionalGeneration])
def test_a_model_that_skips_logits_trains_as_one_that_makes_them(head: Any, copying: bool, autocast: bool) -> None:
    torch.manual_seed(0)
    model = head(small_config(copy_head=copying))
    ids = torch.randint(4, 50, (2, 20))
    ids[:, 10:] = ids[:, :10]  # something to copy
    batch = {"input_ids": ids, "labels": ids}
    if head is SimMIMForConditionalGeneration:  # two targets of each document, and padding on both sides
        mask = torch.tensor([[1] * 20, [0] * 3 + [1] * 17])
        labels = torch.randint(4, 50, (4, 6)).index_fill(1, torch.tensor([0]), int(ids[0, 1]))
        labels[1, 3:] = -100
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    losses_found, gradients = [], []
    for skip in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = model(**batch, skip_logits=skip)
        assert (output.logits is None) == skip
        output.loss.backward()
        losses_found.append(output.loss)
        found = {name: parameter.grad for name, parameter in model.named_parameters()}
        gradients.append({name: grad.clone() for name, grad in found.items() if grad is not None})
        model.zero_grad()
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if autocast else {}
    torch.testing.assert_close(*losses_found, **tolerance)
    torch.testing.assert_close(gradients[1], gradients[0], **tolerance)
    asked = {} if head is SimMIMForCausalLM else {"decoder_input_ids": ids}
    assert model(ids, **asked, skip_logits=True).logits is not None, "without labels logits are all there is"
