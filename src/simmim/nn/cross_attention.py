"""Cross-attention of decoder tokens to the encoder's memory: to all of it, or to the tokens of the best segments.

Letters: B documents, R targets (the same number of each document, side by side), N decoder tokens, M memory vectors,
S segments of the longest memory, L segment length, H heads, D head width, E = H*D, K segments chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from simmim.errors import ConfigError
from simmim.nn.attention_maps import AttentionMaps
from simmim.ops.attention import chunks, scaled_dot_product_attention

__all__ = ["CrossAttention", "TwoLevelCrossAttention"]

OnWeights = Callable[[Tensor], Tensor]
"""A hook that gets the weights ``[B, H, N, M]`` and returns those to go on with."""


class CrossAttention(nn.Module):
    """Multi-head attention to a memory of M vectors; positions come with the memory's vectors, not from here.

    Targets of one document, such as the beams of a search, stand side by side and read one memory: their tokens are so
    many more queries of it.

    Args:
        hidden_size: E.
        num_heads: H.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def project_memory(
        self, memory: Float[Tensor, "B M E"], memory_mask: Bool[Tensor, "B M"] | None = None
    ) -> tuple[Tensor, ...]:
        """Return what ``forward`` reads, which is the same for every decoded token: keys and values ``[B, H, M, D]``.

        Args:
            memory: ``[B, M, E]``.
            memory_mask: ``[B, M]`` which of its vectors exist; None if all do.
        """
        return self._split(self.k_proj(memory)), self._split(self.v_proj(memory))

    def forward(
        self,
        hidden_states: Float[Tensor, "R N E"],
        projected: tuple[Tensor, ...],
        memory_mask: Bool[Tensor, "B M"] | None = None,
        maps: AttentionMaps | None = None,
    ) -> Float[Tensor, "R N E"]:
        """Attend to the memory.

        Args:
            hidden_states: ``[R, N, E]``.
            projected: what ``project_memory`` returned.
            memory_mask: ``[B, M]`` which vectors of the memory exist, at least one a document; None if all do.
            maps: gets the weights ``cross [R, H, N, M]``; where it is None they are never made.
        """
        targets = hidden_states.shape[0] // projected[0].shape[0]
        asking = hidden_states if targets == 1 else hidden_states.unflatten(0, (-1, targets)).flatten(1, 2)
        on_weights = None if maps is None else _of_targets(maps, targets)
        out = self._read(self._split(self.q_proj(asking)), projected, memory_mask, on_weights)
        merged: Tensor = self.o_proj(out.transpose(1, 2).flatten(-2))
        return merged.view_as(hidden_states)

    def _read(
        self, q: Tensor, projected: tuple[Tensor, ...], memory_mask: Tensor | None, on_weights: OnWeights | None
    ) -> Float[Tensor, "B H N D"]:
        keys, values = projected
        mask = None if memory_mask is None else memory_mask[:, None, None].expand(-1, -1, q.shape[2], -1)
        if on_weights is None:
            return scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        return on_weights(_softmax(_scores(q, keys), mask)) @ values

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class TwoLevelCrossAttention(CrossAttention):
    """Multi-head attention to the tokens of the K segments whose states a query likes best.

    p(token) = p(segment)·p(token | segment): the first is a softmax over the scores of the K best segment states (the
    mean of a segment's tokens, with a key projection of its own), the second one over the tokens of the segment. With
    K >= S every segment is read.

    Cost: N·(S + K·L), where the chosen segments are gathered, which moves 2·K·L·D numbers for each query of a head.
    Fewer segments than pay for that are all scored and the others' weights left at zero, which costs N·M: where
    gradients are wanted (all that is gathered must be kept for them) up to 2·D·K segments, else up to 8·K (measured).
    Without gradients, gathered numbers are bounded by ``simmim.ops.attention.GATHER_LIMIT``.

    Args:
        hidden_size: E.
        num_heads: H.
        segment_length: L; a memory of fewer tokens is one segment, another one a multiple of it.
        top_k: K.

    Raises:
        ConfigError: ``top_k`` is less than one.
    """

    def __init__(self, hidden_size: int, num_heads: int, segment_length: int, top_k: int) -> None:
        super().__init__(hidden_size, num_heads)
        if top_k < 1:
            raise ConfigError(f"top_k: expected a whole number of 1 or more segments, got {top_k}")
        self.segment_length, self.top_k = segment_length, top_k
        self.state_k_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def project_memory(
        self, memory: Float[Tensor, "B M E"], memory_mask: Bool[Tensor, "B M"] | None = None
    ) -> tuple[Tensor, ...]:
        """Return keys and values ``[B, H, M, D]`` of the tokens, and keys ``[B, H, S, D]`` of the segment states."""
        cut = self._cut(memory.shape[1])
        segments = memory.unflatten(1, cut)
        if memory_mask is None:
            states = segments.mean(2)
        else:
            valid = memory_mask.unflatten(1, cut)[..., None]
            states = segments.masked_fill(~valid, 0).sum(2) / valid.sum(2).clamp(min=1)
        # Segments are gathered again for every token: side by side in memory once and for all.
        keys, values = (projected.contiguous() for projected in super().project_memory(memory, memory_mask))
        return keys, values, self._split(self.state_k_proj(states))

    def _read(
        self, q: Tensor, projected: tuple[Tensor, ...], memory_mask: Tensor | None, on_weights: OnWeights | None
    ) -> Float[Tensor, "B H N D"]:
        keys, values, state_keys = projected
        mask = None if memory_mask is None else memory_mask.unflatten(1, self._cut(keys.shape[2]))
        scores = _scores(q, state_keys)
        if mask is not None:
            exists = mask.any(2)
            scores = scores.masked_fill(~exists[:, None, None], float("-inf"))
            # A segment of nothing is never given a weight, but a softmax over nothing would be NaN.
            mask = mask | ~exists[..., None]
        segments, head_width = state_keys.shape[2:]
        exported = torch.compiler.is_exporting()  # for any number of segments: of as many that do not exist, too
        scores = F.pad(scores, (0, self.top_k), value=float("-inf")) if exported else scores
        best = scores.topk(self.top_k if exported else min(self.top_k, segments), dim=-1)
        shares = torch.softmax(best.values, dim=-1)
        pays = not exported and segments > self.top_k * (2 * head_width if torch.is_grad_enabled() else 8)
        cut = self._cut(keys.shape[2])
        if on_weights is None and pays:
            return _read_chosen(q, keys.unflatten(2, cut), values.unflatten(2, cut), mask, best.indices, shares)
        shares = torch.zeros_like(scores).scatter(-1, best.indices, shares)[..., :segments]
        within = _softmax(_scores(q, keys).unflatten(-1, cut), None if mask is None else mask[:, None, None])
        weights = (shares[..., None] * within).flatten(-2)
        return (weights if on_weights is None else on_weights(weights)) @ values

    def _cut(self, tokens: int) -> tuple[int, int]:
        return -1, self.segment_length if torch.compiler.is_exporting() else min(self.segment_length, tokens)


def _of_targets(maps: AttentionMaps, targets: int) -> OnWeights:
    """Return what keeps the weights of so many targets of each document as ``cross [R, H, N, M]``."""

    def on_weights(weights: Tensor) -> Tensor:
        kept = maps.keep("cross", weights.unflatten(2, (targets, -1)).transpose(1, 2).flatten(0, 1))
        return kept.unflatten(0, (-1, targets)).transpose(1, 2).flatten(2, 3)

    return on_weights


def _read_chosen(
    q: Float[Tensor, "B H N D"],
    keys: Float[Tensor, "B H S L D"],
    values: Float[Tensor, "B H S L D"],
    mask: Bool[Tensor, "B S L"] | None,
    chosen: Int[Tensor, "B H N K"],
    shares: Float[Tensor, "B H N K"],
) -> Float[Tensor, "B H N D"]:
    """Attend to the tokens of the segments that each query of a head has chosen, gathered side by side."""
    batch, heads, segments, length, width = keys.shape
    document = torch.arange(batch, device=q.device)[:, None, None, None] * segments
    head = torch.arange(batch * heads, device=q.device).view(batch, heads, 1, 1) * segments
    mask_row = (document + chosen).flatten(0, 2)
    # Rows of the tables below: masks are of documents, keys and values of their heads.
    key_row = (head + chosen).flatten(0, 2)
    read = []
    for part in chunks(key_row.shape[0], 2 * chosen.shape[-1] * length * width):

        def gather(tokens: Tensor, rows: Tensor) -> Tensor:
            return tokens.index_select(0, rows.flatten()).unflatten(0, rows.shape)

        scores = torch.einsum("rd,rkld->rkl", q.flatten(0, 2)[part], gather(keys.flatten(0, 2), key_row[part]))
        weights = _softmax(scores * width**-0.5, None if mask is None else gather(mask.flatten(0, 1), mask_row[part]))
        weights = weights * shares.flatten(0, 2)[part, :, None]
        read.append(torch.einsum("rkl,rkld->rd", weights, gather(values.flatten(0, 2), key_row[part])))
    return torch.cat(read).unflatten(0, (batch, heads, -1))


def _scores(q: Float[Tensor, "B H N D"], k: Float[Tensor, "B H K D"]) -> Float[Tensor, "B H N K"]:
    return q @ k.transpose(2, 3) * q.shape[-1] ** -0.5


def _softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    return torch.softmax(scores if mask is None else scores.masked_fill(~mask, float("-inf")), dim=-1)
