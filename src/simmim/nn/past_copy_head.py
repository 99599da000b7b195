"""A head that may repeat: the next token comes from the vocabulary, or is what followed the same tokens before."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from simmim.ops.ngrams import KEPT, LONGEST

__all__ = ["Continuations", "PastCopyHead"]

LIMIT = 60.0
"""Greatest score: its exponential, and that of minus it, are float32 numbers that can be summed."""


class Continuations(NamedTuple):
    """What a past copy head can copy.

    Attributes:
        ids: ``[B, N, C]`` int64 by ``ops.ngrams``: what followed the n-grams that end with each token; -1 for nothing.
    """

    ids: Tensor


class PastCopyHead(nn.Module):
    """Mix the distribution over the vocabulary with what followed the same n-grams earlier in the document.

    p(w) = g_0 p_vocabulary(w) + Σ_{c: id_c = w} g_c, where g is one softmax over the vocabulary as a whole and the C
    continuations that were found: a pointer-sentinel mixture (Merity et al., arXiv 1609.07843, eq. 5) that points where
    an n-gram head looks (Akyürek et al., arXiv 2401.12973, §5). What it reads of the past are ids, in a table of
    constant size, however far back they stand. It is the softmax of logits of which those of the continuations have
    been raised: where nothing was found they are the vocabulary's.

    Args:
        hidden_size: E.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden_size, 1 + LONGEST * KEPT)

    def forward(
        self, hidden_states: Float[Tensor, "B N E"], logits: Float[Tensor, "B N V"], ids: Int[Tensor, "B N C"]
    ) -> Float[Tensor, "B N V"]:
        """Return logits (float32 or better) of the mixed probabilities.

        Args:
            hidden_states: ``[B, N, E]``, what both heads read.
            logits: ``[B, N, V]`` scores of the vocabulary.
            ids: ``[B, N, C]`` as of ``Continuations``.
        """
        tracked = torch.is_grad_enabled() or torch.compiler.is_compiling()
        if ids.shape[1] == 1 and logits.device.type == "cpu" and not tracked:
            return self._of_one_token(hidden_states, logits, ids)
        scores = self._scores(hidden_states)
        logits = logits.to(scores.dtype)
        # Continuations that are the same token bring the weight of all together, each its part of it.
        same = (ids[..., None] == ids[..., None, :]).to(scores.dtype)
        weight = (same @ scores.exp()[..., None])[..., 0].log() + logits.logsumexp(-1, keepdim=True)
        indices = ids.clamp(min=0)
        more = F.softplus(weight - logits.gather(-1, indices), threshold=40) / same.sum(-1)
        return logits.scatter_add(-1, indices, more.masked_fill(ids < 0, 0))

    def weigh(
        self, hidden_states: Float[Tensor, "B N E"], targets: Int[Tensor, "B N"], ids: Int[Tensor, "B N C"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """Return what ``forward`` makes of one token each, without the distributions, as two logarithms.

        They are the weights that copies of the target have, and that all have together, where the vocabulary's is 1:
        the target's probability is (p_vocabulary + copied) / total.

        Args:
            hidden_states: as of ``forward``.
            targets: ``[B, N]`` int64 the tokens that are asked for.
            ids: as of ``forward``.
        """
        scores = self._scores(hidden_states)
        nothing = torch.finfo(scores.dtype).min / 4  # a logarithm of zero whose gradient is a number
        copied = scores.masked_fill(ids != targets[..., None], nothing).logsumexp(-1)
        return copied, F.pad(scores.masked_fill(ids < 0, nothing), (1, 0)).logsumexp(-1)

    def _of_one_token(
        self, hidden_states: Float[Tensor, "B 1 E"], logits: Float[Tensor, "B 1 V"], ids: Int[Tensor, "B 1 C"]
    ) -> Float[Tensor, "B 1 V"]:
        """Return what ``forward`` does, number by number: while decoding they cost less than operations on tensors."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)
        rows, shares = logits[:, 0].numpy(), logits.log_softmax(-1)[:, 0].numpy()
        for row, share, scores, found in zip(
            rows, shares, self.score(hidden_states)[:, 0].tolist(), ids[:, 0].tolist(), strict=True
        ):
            weights: dict[int, float] = {}
            for token, score in zip(found, scores[1:], strict=True):
                if token >= 0:
                    weight = math.exp(min(max(score - scores[0], -LIMIT), LIMIT))
                    weights[token] = weights.get(token, 0.0) + weight
            for token, weight in weights.items():
                more = math.log(weight) - float(share[token])
                row[token] += more if more > LIMIT else math.log1p(math.exp(more))
        return logits

    def _scores(self, hidden_states: Float[Tensor, "B N E"]) -> Float[Tensor, "B N C"]:
        """Return the logarithm of how much each continuation weighs beside the vocabulary, in float32 or better."""
        scores: Tensor = self.score(hidden_states)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return (scores[..., 1:] - scores[..., :1]).clamp(-LIMIT, LIMIT)
