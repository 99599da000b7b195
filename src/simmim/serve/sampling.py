"""Chooses tokens as one request asks for it, with random numbers that no other request shares."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import LogitsProcessor

__all__ = ["Sampler", "Sampling"]

_GREEDY = 1e-5  # below this temperature logits divided by it are no numbers any more, and the likeliest token has all


@dataclass(frozen=True)
class Sampling:
    """Holds how tokens are chosen, in the words of the OpenAI API reference.

    Attributes:
        temperature: 0 takes the likeliest token.
        top_p: choose among the likeliest tokens that make up this share.
        seed: the same gives the same text; None draws one.
        presence_penalty: taken off the logits of tokens that have been written.
        frequency_penalty: taken off as often as a token has been written.
        logit_bias: added to the logits of these tokens.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)


class Sampler(LogitsProcessor):
    """Leaves of the logits only the token that was chosen, so that greedy ``generate`` takes it.

    ``generate`` itself draws from the global random numbers of torch, which every request would move on.

    Args:
        sampling: how tokens are chosen.
        rows: texts that are written side by side; each draws for itself.
        device: where the logits are.
    """

    def __init__(self, sampling: Sampling, rows: int, device: torch.device) -> None:
        self._sampling = sampling
        seed = secrets.randbits(62) if sampling.seed is None else sampling.seed
        self._draws = [torch.Generator(device).manual_seed((seed + row) % (1 << 63)) for row in range(rows)]
        self._counts: Tensor | None = None
        self._prompt: int | None = None
        tokens = list(sampling.logit_bias)
        self._biased = torch.tensor(tokens, dtype=torch.long, device=device)
        self._bias = torch.tensor([sampling.logit_bias[token] for token in tokens], device=device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Choose the next tokens.

        Args:
            input_ids: ``[B, N]`` prompt and what has been written so far.
            scores: ``[B, vocab_size]``.

        Returns:
            ``[B, vocab_size]``, 0 for the token that is chosen and -inf for the others.
        """
        scores = self._penalized(input_ids, scores.float())
        if self._sampling.temperature < _GREEDY:
            chosen = scores.argmax(-1, keepdim=True)
        else:
            shares = torch.softmax(scores / self._sampling.temperature, dim=-1)
            if self._sampling.top_p < 1:
                shares = _likeliest(shares, self._sampling.top_p)
            rows = zip(shares, self._draws, strict=True)
            chosen = torch.stack([torch.multinomial(row, 1, generator=draws) for row, draws in rows])
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)

    def _penalized(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return logits[j] + bias[j] - count[j]·frequency_penalty - [count[j] > 0]·presence_penalty."""
        sampling = self._sampling
        if self._biased.numel():
            scores = scores.index_add(1, self._biased, self._bias.expand(len(scores), -1))
        if sampling.presence_penalty or sampling.frequency_penalty:
            if self._counts is None:
                self._counts, self._prompt = torch.zeros_like(scores), input_ids.shape[1]
            elif input_ids.shape[1] > (self._prompt or 0):
                self._counts.scatter_add_(1, input_ids[:, -1:], torch.ones_like(self._counts[:, :1]))
            scores = scores - self._counts * sampling.frequency_penalty
            scores = scores - (self._counts > 0) * sampling.presence_penalty
        return scores


def _likeliest(shares: Tensor, top_p: float) -> Tensor:
    """Set the shares of all but the fewest likeliest tokens that make up ``top_p`` to zero; one is always left."""
    ordered, places = shares.sort(dim=-1, descending=True)
    left_out = ordered.cumsum(-1) - ordered >= top_p
    return torch.zeros_like(shares).scatter(-1, places, ordered.masked_fill(left_out, 0.0))
