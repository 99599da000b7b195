"""The past copy head mixes its distributions as its equation says, and learns to go on with what stood there before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simmim import SimMIMForCausalLM
from simmim.nn.past_copy_head import PastCopyHead
from simmim.ops.ngrams import KEPT, LONGEST
from support import small_config

VOCABULARY, CANDIDATES = 11, LONGEST * KEPT


@pytest.fixture
def given() -> tuple[PastCopyHead, Tensor, Tensor, Tensor]:
    """A head, vectors, logits, and continuations many of which are the same token, or none."""
    torch.manual_seed(0)
    ids = torch.randint(-1, 3, (2, 9, CANDIDATES))
    ids[0, 0], ids[1, 3] = -1, 7
    hidden, logits = torch.randn(2, 9, 8).double(), torch.randn(2, 9, VOCABULARY).double()
    return PastCopyHead(8).double(), hidden.requires_grad_(), logits.requires_grad_(), ids


def by_hand(head: PastCopyHead, hidden: Tensor, logits: Tensor, ids: list[int]) -> Tensor:
    """Mix the distributions of one token."""
    scores = head.score(hidden)
    held = [0, *(1 + place for place, token in enumerate(ids) if token >= 0)]
    weights = torch.softmax(scores[held], 0)
    mixed = weights[0] * torch.softmax(logits, 0)
    for weight, place in zip(weights[1:], held[1:], strict=True):
        mixed = mixed + weight * torch.eye(VOCABULARY, dtype=mixed.dtype)[ids[place - 1]]
    return mixed


def test_probabilities_are_those_of_the_equation(given: tuple[PastCopyHead, Tensor, Tensor, Tensor]) -> None:
    head, hidden, logits, ids = given
    mixed = head(hidden, logits, ids)
    rows = [(b, t) for b in range(2) for t in range(9)]
    expected = torch.stack([by_hand(head, hidden[r], logits[r], ids[r].tolist()) for r in rows]).view_as(mixed)
    torch.testing.assert_close(mixed.softmax(-1), expected, rtol=0, atol=1e-12)
    assert torch.equal(mixed[0, 0], logits[0, 0]), "nothing was found"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_single_tokens_are_mixed_as_texts_are(
    dtype: torch.dtype, given: tuple[PastCopyHead, Tensor, Tensor, Tensor]
) -> None:
    head, hidden, logits, ids = given
    head, hidden, logits = head.to(dtype), hidden.detach().to(dtype), logits.detach().to(dtype)
    hidden[1] *= 1e3  # scores at their limits
    before = logits.clone()
    with torch.no_grad():
        whole = head(hidden, logits, ids)
        single = torch.cat([head(hidden[:, t : t + 1], logits[:, t : t + 1], ids[:, t : t + 1]) for t in range(9)], 1)
    assert single.dtype == whole.dtype
    # In bfloat16 a score's last bit depends on how many are made at once.
    most = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(single, whole, rtol=most, atol=most)
    assert torch.equal(logits, before)


def test_probabilities_and_their_gradients_are_the_same_without_distributions(
    given: tuple[PastCopyHead, Tensor, Tensor, Tensor],
) -> None:
    head, hidden, logits, ids = given
    leaves = (hidden, logits, *head.parameters())
    targets = torch.randint(0, VOCABULARY, (2, 9))
    targets[:, ::2] = ids[:, ::2, 0].clamp(min=0)
    whole = head(hidden, logits, ids).log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    written = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    copied, total = head.weigh(hidden, targets, ids)
    alone = torch.logaddexp(written, copied) - total
    torch.testing.assert_close(alone, whole)
    pairs = (torch.autograd.grad(said.sum(), leaves, retain_graph=True) for said in (whole, alone))
    for one, other in zip(*pairs, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other)


def test_extreme_scores_stay_numbers(given: tuple[PastCopyHead, Tensor, Tensor, Tensor]) -> None:
    head, hidden, logits, ids = given
    head = head.float()
    for factor in (-1e4, 1e4):
        hidden = (hidden.detach().float() * factor).requires_grad_()
        said = head(hidden, logits.float(), ids)
        assert said.isfinite().all()
        torch.testing.assert_close(said.softmax(-1).sum(-1), torch.ones(2, 9))
        [gradient] = torch.autograd.grad(said.log_softmax(-1)[..., 0].sum(), hidden)
        assert gradient.isfinite().all()


@pytest.mark.slow
def test_a_model_learns_to_go_on_with_what_it_read_before() -> None:
    """Texts say something twice that never occurred in training; a plain head learns nothing of it in that time."""
    losses = {}
    for copying in (None, False):
        torch.manual_seed(0)
        model = SimMIMForCausalLM(small_config(copy_head=copying)).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        for _ in range(80):
            ids = torch.randint(4, 50, (16, 20)).repeat(1, 2)
            labels = ids.clone()
            labels[:, :21] = -100
            loss = model(ids, labels=labels, skip_logits=True).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses[copying] = float(loss.detach())
    assert losses[None] < 0.5
    assert losses[False] > 3
