"""Samples tokens with the parameters of one request and a random generator of its own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import LogitsProcessor

__all__ = ["Sampler", "Sampling"]

_GREEDY = 1e-5  # below this temperature the division overflows; the likeliest token has all the probability


@dataclass(frozen=True)
class Sampling:
    """Holds the sampling parameters, named as in the OpenAI API reference.

    Attributes:
        temperature: 0 takes the likeliest token.
        top_p: sample from the likeliest tokens with this total probability.
        seed: the same seed gives the same text; None draws one.
        presence_penalty: subtracted from the logits of generated tokens.
        frequency_penalty: subtracted once for each time that a token was generated.
        logit_bias: added to the logits of these tokens.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)


class Sampler(LogitsProcessor):
    """Masks all logits but that of the sampled token, which greedy ``generate`` then takes.

    ``generate`` itself samples with the global generator of torch, which all requests share.
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
        """Sample the next tokens.

        Args:
            input_ids: ``[B, N]`` prompt and generated tokens.
            scores: ``[B, vocab_size]``.

        Returns:
            ``[B, vocab_size]``, 0 for the sampled token and -inf for the others.
        """
        scores = self._penalized(input_ids, scores.float())
        if self._sampling.temperature < _GREEDY:
            chosen = scores.argmax(-1, keepdim=True)
        else:
            probabilities = torch.softmax(scores / self._sampling.temperature, dim=-1)
            if self._sampling.top_p < 1:
                probabilities = _likeliest(probabilities, self._sampling.top_p)
            rows = zip(probabilities, self._draws, strict=True)
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


def _likeliest(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero the probabilities outside the smallest set of tokens that reaches ``top_p``; one token always remains."""
    ordered, indices = probabilities.sort(dim=-1, descending=True)
    excluded = ordered.cumsum(-1) - ordered >= top_p
    excluded[..., 0] = False  # a top_p such as 1e-300 is 0 in float32
    return torch.zeros_like(probabilities).scatter(-1, indices, ordered.masked_fill(excluded, 0.0))
