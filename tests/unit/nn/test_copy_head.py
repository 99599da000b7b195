"""The copy head mixes two distributions as its equation says, and sees no padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simmim import ShapeError, SimMIMForConditionalGeneration
from simmim.nn.copy_head import CopyHead
from support import small_config

VOCABULARY = 11


@pytest.fixture
def head() -> CopyHead:
    torch.manual_seed(0)
    return CopyHead(8).double()


def by_hand(head: CopyHead, hidden: Tensor, logits: Tensor, memory: Tensor, ids: Tensor) -> Tensor:
    """Mix one document's distributions, token by token."""
    rows = []
    for h, scores in zip(hidden, logits, strict=True):
        query = head.q_proj(h)
        keys = [head.k_proj(m) + (head.previous_k_proj(memory[n - 1]) if n else 0) for n, m in enumerate(memory)]
        weights = torch.softmax(torch.stack([query @ key for key in keys]) / 8**0.5, dim=0)
        gate = torch.sigmoid(head.gate(h))
        mixed = (1 - gate) * torch.softmax(scores, dim=0)
        for weight, token in zip(weights, ids.tolist(), strict=True):
            mixed = mixed + gate * weight * torch.eye(VOCABULARY, dtype=mixed.dtype)[token]
        rows.append(mixed)
    return torch.stack(rows)


def test_probabilities_are_those_of_the_equation_whatever_the_padding(head: CopyHead) -> None:
    memory, hidden = torch.randn(3, 9, 8).double(), torch.randn(3, 4, 8).double()
    logits, ids = torch.randn(3, 4, VOCABULARY).double(), torch.randint(0, VOCABULARY, (3, 9))
    mask = torch.tensor([[1] * 9, [0, 0, 0, 1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0, 1, 0, 1]]).bool()
    mixed = head(hidden, logits, head.project_memory(memory, mask), ids, mask).exp()
    torch.testing.assert_close(mixed.sum(-1), torch.ones(3, 4).double(), rtol=0, atol=1e-6)
    for row, held in enumerate(mask):
        expected = by_hand(head, hidden[row], logits[row], memory[row][held], ids[row][held])
        torch.testing.assert_close(mixed[row], expected, rtol=0, atol=2e-9)


def test_without_a_mask_every_token_counts(head: CopyHead) -> None:
    memory = torch.randn(2, 5, 8).double()
    everything = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(head.project_memory(memory), head.project_memory(memory, everything))


@pytest.mark.slow
def test_a_model_that_copies_learns_to_repeat_what_it_reads() -> None:
    """Targets repeat the first three source tokens; the texts that it is asked for never occurred in training."""
    torch.manual_seed(0)
    model = SimMIMForConditionalGeneration(small_config(copy_head=True)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(240):
        ids = torch.randint(4, 50, (32, 9))
        loss = model(ids, labels=ids[:, :3]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    unseen = torch.randint(4, 50, (32, 9))
    written = model.eval().generate(unseen, max_new_tokens=3, eos_token_id=None, do_sample=False)[:, 1:]
    assert (written == unseen[:, :3]).double().mean() > 0.5, "any of the nine would be right one time in nine"
    with pytest.raises(ShapeError, match="needs their ids"):
        model(inputs_embeds=torch.randn(1, 4, 16), labels=torch.tensor([[5]]))
