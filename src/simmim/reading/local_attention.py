"""Attention of a chunk of tokens to the document's first tokens and to the segments before their own, in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from simmim.reading.rotation import Rotation

__all__ = ["Plan", "Window", "attend", "plan_blocks"]

_BLOCK = 128
"""Query tokens that share a set of near keys. More: longer rows of keys; fewer: more copies of each key."""


@dataclass(frozen=True)
class Window:
    """What a token may attend to besides its own segment.

    Attributes:
        segment: L, tokens of a segment.
        near: W / L, previous segments that are read in full.
        sink: A, first tokens of the document, which every token reads (StreamingLLM, arXiv 2309.17453).
        sliding: tokens of the model's own sliding window, its own token included, for layers that have one: these
            read the window alone.
    """

    segment: int
    near: int
    sink: int
    sliding: int | None = None

    @property
    def reach(self) -> int:
        """Return how many tokens before itself a token can need, the sink left out."""
        return (self.near + 1) * self.segment if self.sliding is None else self.sliding


@dataclass(frozen=True)
class Plan:
    """Which keys each block of a chunk reads, where they are placed, and which of them each query sees.

    Letters: B documents, n blocks, T queries of a block, F sink tokens, K = F + near keys + T.

    Attributes:
        keys: index of each key in the document, [B, n, K]; clamped to those that exist.
        positions: of the keys in the block's frame, [B, n, K].
        queries: positions of the queries in it, [T].
        visible: which keys a query attends to, [B, n, T, K].
    """

    keys: Int[Tensor, "B n K"]
    positions: Int[Tensor, "B n K"]
    queries: Int[Tensor, "T"]
    visible: Bool[Tensor, "B n T K"]


def plan_blocks(
    past: int, chunk: int, first: Int[Tensor, "B"], window: Window, valid: Bool[Tensor, "B N"] | None = None
) -> Plan:
    """Lay out the attention of `chunk` new tokens behind `past` others.

    Args:
        past: tokens before the chunk, padding included.
        chunk: C, new tokens.
        first: index of each document's first token: the padding on its left.
        window: what a token may attend to.
        valid: which of the `past + chunk` tokens are no padding; None for all.
    """
    device = first.device
    size = min(chunk, _BLOCK)
    blocks = -(-chunk // size)
    sink = window.sink if window.sliding is None else 0
    near = min(window.reach, past + (blocks - 1) * size)
    starts = past + size * torch.arange(blocks, device=device)
    queries = starts[:, None] + torch.arange(size, device=device)  # [n, T]
    local = starts[:, None] + torch.arange(-near, size, device=device)  # [n, near + T]

    sinks = first[:, None, None] + torch.arange(sink, device=device)  # [B, 1, F]
    natural = sinks - starts[:, None] + sink + near
    compact = torch.arange(sink, device=device).expand_as(natural)
    # a far key is placed beside the near ones, but never farther from the block than it stands in the document
    sink_positions = torch.maximum(compact, natural)
    local_positions = torch.arange(sink, sink + near + size, device=device)

    if window.sliding is None:
        begin = first[:, None, None]
        own = (queries - begin).div(window.segment, rounding_mode="floor")
        lowest = torch.maximum(begin + (own - window.near) * window.segment, begin)  # [B, n, T]
    else:
        lowest = torch.maximum(queries - window.sliding + 1, first[:, None, None])
    end = past + chunk
    see_local = (local[:, None] >= lowest[..., None]) & (local[:, None] <= queries[..., None]) & (local < end)[:, None]
    see_sink = sinks[..., None, :] < torch.minimum(lowest, queries)[..., None]
    batch = len(first)
    keys = torch.cat([sinks.expand(batch, blocks, sink), local.expand(batch, blocks, -1)], -1).clamp(0, end - 1)
    visible = torch.cat([see_sink.expand(batch, blocks, size, sink), see_local], -1)
    if valid is not None:
        rows = torch.arange(batch, device=device)[:, None, None]
        visible = visible & valid[rows, keys][..., None, :]
    positions = torch.cat([sink_positions, local_positions.expand(batch, blocks, -1)], -1)
    return Plan(keys, positions, sink + near + torch.arange(size, device=device), visible)


def attend(
    query: Float[Tensor, "B H C D"],
    keys: Float[Tensor, "B n G K D"],
    values: Float[Tensor, "B n G K D"],
    plan: Plan,
    rotation: Rotation | None,
    layer_type: str | None,
    scale: float,
    softcap: float | None = None,
) -> Float[Tensor, "B C H D"]:
    """Attend from every block to its keys: softmax(R(p)q · R(p')k · scale) v over the visible keys.

    Args:
        query: without rotation.
        keys: of each block, gathered by `plan.keys`, without rotation; G heads of keys and values.
        values: likewise.
        plan: of the chunk.
        rotation: of the model; None for a layer without positions.
        layer_type: which frequencies of the rotation are the layer's.
        scale: factor of the scores.
        softcap: bound of the scores, `softcap · tanh(score / softcap)` (Gemma 2); None for no bound.

    Cost: C (F + W + T) H D multiplications, and a copy of the near keys for every block.
    """
    batch, heads, chunk, width = query.shape
    blocks, size = plan.visible.shape[1:3]
    groups = keys.shape[2]
    missing = blocks * size - chunk
    q = functional.pad(query, (0, 0, 0, missing)) if missing else query
    q = q.unflatten(2, (blocks, size)).transpose(1, 2).flatten(0, 1)  # [B n, H, T, D]
    k, v = keys.flatten(0, 1), values.flatten(0, 1)
    if rotation is not None:
        q = rotation.rotate(q, rotation.tables(plan.queries[None], q, layer_type))
        k = rotation.rotate(k, rotation.tables(plan.positions.flatten(0, 1), k, layer_type))
    mask = plan.visible.flatten(0, 1)[:, None]
    # a padded query sees nothing: let it see everything, for a softmax over nothing is not a number
    mask = mask | ~mask.any(-1, keepdim=True)
    # The heads that share a key stand side by side as more queries of that key: no key is copied.
    share = heads // groups
    q = q.unflatten(1, (groups, share)).flatten(2, 3)
    mask = mask.expand(-1, -1, size, -1).repeat(1, 1, share, 1)
    if softcap is None:
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    else:
        scores = softcap * torch.tanh(q @ k.transpose(-1, -2) * scale / softcap)
        weights = scores.masked_fill(~mask, -torch.inf).float().softmax(-1).to(v.dtype)
        out = weights @ v
    out = out.unflatten(2, (share, size)).flatten(1, 2)  # [B n, H, T, D]
    return out.unflatten(0, (batch, blocks)).permute(0, 1, 3, 2, 4).reshape(batch, blocks * size, heads, width)[:, :chunk]
