"""A head that may repeat: the next token comes from the vocabulary, or is what followed the same tokens before."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from simmim.ops.ngrams import KEPT, LONGEST

__all__ = ["Continuations", "PastCopyHead"]


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
    constant size, however far back they stand.

    Args:
        hidden_size: E.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden_size, 1 + LONGEST * KEPT)

    def forward(
        self, hidden_states: Float[Tensor, "B N E"], logits: Float[Tensor, "B N V"], ids: Int[Tensor, "B N C"]
    ) -> Float[Tensor, "B N V"]:
        """Return the logarithm (float32 or better) of the mixed probabilities.

        Args:
            hidden_states: ``[B, N, E]``, what both heads read.
            logits: ``[B, N, V]`` scores of the vocabulary.
            ids: ``[B, N, C]`` as of ``Continuations``.
        """
        gates = self._gates(hidden_states, ids)
        written = torch.log_softmax(logits.to(gates.dtype), dim=-1) + gates[..., :1]
        # Of continuations that are the same token the first one brings the weight of all.
        same = (ids[..., :, None] == ids[..., None, :]) & (ids >= 0)[..., None]
        copied = torch.logsumexp(gates[..., None, 1:].masked_fill(~same, _least(gates)), dim=-1)
        places = ids.clamp(min=0)
        old = written.gather(-1, places)
        first = (ids >= 0) & ~(same & torch.ones_like(same).tril(-1)).any(-1)
        more = (torch.logaddexp(old, copied) - old).masked_fill(~first, 0)
        return written.scatter_add(-1, places, more)

    def log_probs(
        self,
        hidden_states: Float[Tensor, "B N E"],
        written: Float[Tensor, "B N"],
        targets: Int[Tensor, "B N"],
        ids: Int[Tensor, "B N C"],
    ) -> Float[Tensor, "B N"]:
        """Return what ``forward`` says of one token each, without the distributions.

        Args:
            hidden_states: as of ``forward``.
            written: ``[B, N]`` the logarithm of the target's probability in the distribution over the vocabulary.
            targets: ``[B, N]`` int64 the tokens that are asked for.
            ids: as of ``forward``.
        """
        gates = self._gates(hidden_states, ids)
        copies = gates[..., 1:].masked_fill(ids != targets[..., None], _least(gates))
        return torch.cat((written[..., None] + gates[..., :1], copies), dim=-1).logsumexp(-1)

    def _gates(self, hidden_states: Float[Tensor, "B N E"], ids: Int[Tensor, "B N C"]) -> Float[Tensor, "B N C+1"]:
        """Return the logarithms of the weights of the vocabulary and of every continuation."""
        scores: Tensor = self.score(hidden_states)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        nothing = torch.nn.functional.pad(ids < 0, (1, 0))
        return torch.log_softmax(scores.masked_fill(nothing, _least(scores)), dim=-1)


def _least(like: Tensor) -> float:
    """Return a logarithm that counts as that of zero, and has gradients that are numbers."""
    return torch.finfo(like.dtype).min / 4
