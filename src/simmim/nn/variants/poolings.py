"""Other states of segments than their mean (``state_pooling``): first, last, attention."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from simmim.nn.states import STATE_POOLINGS, StatePooling

__all__ = ["AttentionPooling", "FirstPooling", "LastPooling"]

Pooled = tuple[Float[Tensor, "S E"], Float[Tensor, " S"]]


@STATE_POOLINGS.register("first")
class FirstPooling(StatePooling):
    """The first vector, as the source document has it (§3.1)."""

    causal = False

    def forward(self, tokens: Float[Tensor, "S L E"], mask: Bool[Tensor, "S L"]) -> Pooled:
        """Return the first token of every segment."""
        return self.pick(tokens, mask), torch.ones(tokens.shape[0], device=tokens.device)

    @staticmethod
    def pick(tokens: Float[Tensor, "S L E"], mask: Bool[Tensor, "S L"]) -> Float[Tensor, "S E"]:
        """Return the vector in the first slot that holds a token."""
        return tokens[torch.arange(tokens.shape[0], device=tokens.device), mask.int().argmax(1)]


@STATE_POOLINGS.register("last")
class LastPooling(StatePooling):
    """The last vector."""

    def forward(self, tokens: Float[Tensor, "S L E"], mask: Bool[Tensor, "S L"]) -> Pooled:
        """Return the last token of every segment."""
        last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
        return tokens[torch.arange(tokens.shape[0], device=tokens.device), last], mask.any(1).float()

    def merge(self, pooled: Pooled, more: Pooled) -> Pooled:
        """Return the later one."""
        later = more[1] > 0
        return torch.where(later[:, None], more[0], pooled[0]), torch.maximum(pooled[1], more[1])


def _at_least_float32(x: Tensor) -> Tensor:
    """Return half-precision numbers as float32, and others as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@STATE_POOLINGS.register("attention")
class AttentionPooling(StatePooling):
    """What one learned query attends to: softmax(x·query / √E) x; the weight is the log of the summed exponentials."""

    empty = float("-inf")

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.query = nn.Parameter(torch.zeros(hidden_size))

    def _score(self, tokens: Tensor) -> Tensor:
        return tokens @ self.query.to(tokens.dtype) * self.hidden_size**-0.5

    def forward(self, tokens: Float[Tensor, "S L E"], mask: Bool[Tensor, "S L"]) -> Pooled:
        """Return the attended token of every segment."""
        score = self._score(tokens).masked_fill(~mask, torch.finfo(tokens.dtype).min)
        share = torch.softmax(score, dim=1)
        weight = _at_least_float32(score).logsumexp(1).masked_fill(~mask.any(1), self.empty)
        return (share[:, None] @ tokens.masked_fill(~mask[..., None], 0))[:, 0], weight

    def merge(self, pooled: Pooled, more: Pooled) -> Pooled:
        """Return the weighted mean of all tokens."""
        # Finite, or two empty parts would make a NaN.
        first, further = (weight.clamp(min=torch.finfo(weight.dtype).min / 2) for weight in (pooled[1], more[1]))
        total = torch.logaddexp(first, further)
        share = (further - total).exp().to(pooled[0].dtype)
        return torch.lerp(pooled[0], more[0], share[:, None]), total
