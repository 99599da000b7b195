"""How a segment becomes its state (``state_pooling``): first, last, mean, attention.

A pooling works on whole segments (``forward``), and joins what it made of the parts of one (``merge``) while decoding.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from simmim.nn.registry import Registry
from simmim.ops.steps import StepLayout

__all__ = ["STATE_POOLINGS", "AttentionPooling", "FirstPooling", "LastPooling", "MeanPooling", "StatePooling"]

Pooled = tuple[Float[Tensor, "S E"], Float[Tensor, " S"]]


class StatePooling(nn.Module):
    """Turns the tokens of a segment into one state ``[E]``. Subclass it and register the class in ``STATE_POOLINGS``.

    Args:
        hidden_size: E.
    """

    causal = True
    """Whether the state may tell of a whole segment; a causal segment's first token has seen nothing."""

    empty = 0.0
    """Weight of a segment that holds no token yet."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size

    def forward(self, tokens: Float[Tensor, "S L E"], mask: Bool[Tensor, "S L"]) -> Pooled:
        """Return the states, and the weight (float32 or better) that each has gathered.

        An empty segment, which ``torch.compile`` cannot leave out, gives anything finite.
        """
        raise TypeError(f"{type(self).__name__} must define forward")

    def merge(self, pooled: Pooled, more: Pooled) -> Pooled:
        """Return the states of segments from those of their first and their further tokens, in float32 or better.

        A part that holds no token has weight ``empty``.
        """
        raise TypeError(f"{type(self).__name__} must define merge")

    def add(self, pooled: Pooled, token: Float[Tensor, "S E"], layout: StepLayout) -> Pooled:
        """Return the states of segments from those of their first tokens and the next one; the same as ``merge``."""
        more: Pooled = self(token[:, None], torch.ones(len(token), 1, dtype=torch.bool, device=token.device))
        return self.merge(pooled, more)


STATE_POOLINGS: Registry[StatePooling] = Registry("state_pooling")


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


@STATE_POOLINGS.register("mean")
class MeanPooling(StatePooling):
    """The mean of the tokens; the weight counts them."""

    def forward(self, tokens: Float[Tensor, "S L E"], mask: Bool[Tensor, "S L"]) -> Pooled:
        """Return the mean token of every segment."""
        count = mask.sum(1).float()
        mean = tokens.masked_fill(~mask[..., None], 0).sum(1) / count.clamp(min=1).to(tokens.dtype)[:, None]
        return mean, count

    def merge(self, pooled: Pooled, more: Pooled) -> Pooled:
        """Return the mean of all tokens."""
        mean, count = pooled[0], pooled[1] + more[1]
        share = more[1].to(mean.dtype) / count.clamp(min=1).to(mean.dtype)
        return torch.lerp(mean, more[0], share[:, None]), count

    def add(self, pooled: Pooled, token: Float[Tensor, "S E"], layout: StepLayout) -> Pooled:
        """Return the mean of all tokens; layers that share a layout share the new one's part of it."""

        def share() -> Tensor:
            shares = [1 / count for count in layout.counts]
            return torch.tensor(shares, dtype=token.dtype, device=token.device)[:, None]

        return torch.lerp(pooled[0], token, layout.memo(("share", token.dtype), share)), pooled[1] + 1


def _exact(x: Tensor) -> Tensor:
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
        weight = _exact(score).logsumexp(1).masked_fill(~mask.any(1), self.empty)
        return (share[:, None] @ tokens.masked_fill(~mask[..., None], 0))[:, 0], weight

    def merge(self, pooled: Pooled, more: Pooled) -> Pooled:
        """Return the weighted mean of all tokens."""
        # Finite, or two empty parts would make a NaN.
        first, further = (weight.clamp(min=torch.finfo(weight.dtype).min / 2) for weight in (pooled[1], more[1]))
        total = torch.logaddexp(first, further)
        share = (further - total).exp().to(pooled[0].dtype)
        return torch.lerp(pooled[0], more[0], share[:, None]), total
