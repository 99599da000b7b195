"""A head that may copy: the next token comes from the vocabulary or from the source (pointer-generator)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from simmim.nn.tokenwise import chunked

__all__ = ["CopyHead", "Source"]

TINY = 1e-9
"""Probability below which a source token counts as not to be copied, so that its logarithm is finite."""


class Source(NamedTuple):
    """What a copy head can copy.

    Attributes:
        keys: ``[B, N, E]`` by its ``project_memory``.
        ids: ``[B, N]`` int64 the tokens.
        mask: ``[B, N]`` which of them exist; None if all do.
    """

    keys: Tensor
    ids: Tensor
    mask: Tensor | None


class CopyHead(nn.Module):
    """Mix the distribution over the vocabulary with one over the tokens of the source.

    p(w) = (1 - g) p_vocabulary(w) + g Σ_{n: source_n = w} a_n (See et al., arXiv 1704.04368, eq. 9; g = 1 - p_gen).
    The weights a attend to the memory with keys that see a source token *and the one before it*, so that to go on
    with what was just copied is easy to learn.

    Args:
        hidden_size: E.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.previous_k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.gate = nn.Linear(hidden_size, 1)

    def project_memory(
        self, memory: Float[Tensor, "B N E"], mask: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N E"]:
        """Return the keys of the source tokens, which are the same for every decoded token."""
        tokens = memory.flatten(0, 1)
        position = torch.arange(tokens.shape[0], device=memory.device).view(memory.shape[:2])
        # The newest token up to each, so that padding is passed over; moved right by one, the one before each.
        newest = position if mask is None else position.masked_fill(~mask, -1).cummax(1).values
        previous = F.pad(newest, (1, -1), value=-1).flatten()

        def keys(own: Tensor, index: Tensor) -> Tensor:
            one_before = tokens[index.clamp(min=0)].masked_fill((index < 0)[:, None], 0)
            made: Tensor = self.k_proj(own) + self.previous_k_proj(one_before)
            return made

        return chunked(keys, tokens, previous, width=4 * memory.shape[-1]).view_as(memory)

    def forward(
        self,
        hidden_states: Float[Tensor, "R T E"],
        logits: Float[Tensor, "R T V"],
        keys: Float[Tensor, "B N E"],
        source_ids: Int[Tensor, "B N"],
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "R T V"]:
        """Return the logarithm (float32 or better) of the mixed probabilities.

        Args:
            hidden_states: ``[R, T, E]`` the decoder's output for R targets: as many of each document, side by side.
            logits: ``[R, T, V]`` scores of the vocabulary.
            keys: ``[B, N, E]`` by ``project_memory``.
            source_ids: ``[B, N]`` int64 the source's tokens.
            mask: ``[B, N]`` which of them exist; None if all do.
        """
        weights = self._weights(hidden_states, keys, mask)
        copied = weights.new_zeros(*weights.shape[:2], logits.shape[-1])
        copied = copied.scatter_add(2, source_ids[:, None].expand_as(weights), weights).view_as(logits)
        gate = self.gate(hidden_states).to(weights.dtype)
        log_probability = torch.log_softmax(logits.to(weights.dtype), dim=-1)
        return torch.logaddexp(F.logsigmoid(-gate) + log_probability, F.logsigmoid(gate) + copied.clamp(min=TINY).log())

    def weigh(
        self,
        hidden_states: Float[Tensor, "R T E"],
        targets: Int[Tensor, "R T"],
        keys: Float[Tensor, "B N E"],
        source_ids: Int[Tensor, "B N"],
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "R T"], Float[Tensor, "R T"]]:
        """Return what ``forward`` makes of one token each, without the distributions: less memory and time by V.

        They are the logarithms of the weights that copies of the target have, and that all have together, where the
        vocabulary's is 1: the target's probability is (p_vocabulary + copied) / total.

        Args:
            hidden_states: as of ``forward``.
            targets: ``[R, T]`` int64 the tokens that are asked for.
            keys: as of ``forward``.
            source_ids: as of ``forward``.
            mask: as of ``forward``.
        """
        weights = self._weights(hidden_states, keys, mask)
        same = source_ids[:, None] == targets.view(*weights.shape[:2], 1)
        copied = weights.masked_fill(~same, 0).sum(-1).view_as(targets)
        gate = self.gate(hidden_states)[..., 0].to(copied.dtype)
        return gate + copied.clamp(min=TINY).log(), F.softplus(gate)

    def _weights(
        self, hidden_states: Float[Tensor, "R T E"], keys: Float[Tensor, "B N E"], mask: Bool[Tensor, "B N"] | None
    ) -> Float[Tensor, "B Q N"]:
        """Return how likely each source token is the one that is copied."""
        asking = hidden_states
        if keys.shape[0] != hidden_states.shape[0]:
            asking = hidden_states.unflatten(0, (keys.shape[0], -1)).flatten(1, 2)
        scores = self.q_proj(asking) @ keys.transpose(1, 2) * keys.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], float("-inf"))
        return torch.softmax(scores.to(torch.promote_types(scores.dtype, torch.float32)), dim=-1)
