"""Attention of a chunk of tokens to the document's first tokens and to the segments before their own, in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from simmim.reading.rotation import Rotation, Tables

__all__ = ["Plan", "Window", "attend", "plan_blocks"]

_BLOCK = 128
"""Query tokens that share a set of near keys. More: longer rows of keys; fewer: more copies of each key.

Blocks are counted from the document's first token, whatever chunks it is read in: the position of far keys depends on
the block, and the same token must get the same scores in a prompt, in a chunk and alone.
"""

Index = TypeVar("Index", int, Tensor)


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

    @property
    def span(self) -> int:
        """Return how many positions a block's frame has at most: the same for all layers of a model.

        Rotary embeddings that depend on the length (dynamic, LongRoPE) take this one for longer documents.
        """
        return self.sink + (self.near + 1) * self.segment + _BLOCK

    def lowest(self, token: Index) -> Index:
        """Return the first near key of a token, both counted from the document's first token; may be negative."""
        if self.sliding is not None:
            return token - self.sliding + 1
        return (token // self.segment - self.near) * self.segment


@dataclass(frozen=True)
class Plan:
    """Which keys each block of a chunk reads, where they are placed, and which of them each query sees.

    Letters: B documents, n blocks, T queries of a block, F sink tokens, K = F + near keys + T.

    Attributes:
        keys: index of each key in the document, [B, n, K]; clamped to those that exist.
        positions: of the keys in the block's frame, [B, n, K].
        queries: positions of the queries in it, [T].
        visible: which keys a query attends to, [B, n, T, K].
        lead: queries of the first block that stand before the chunk, [B].
    """

    keys: Int[Tensor, "B n K"]
    positions: Int[Tensor, "B n K"]
    queries: Int[Tensor, "T"]
    visible: Bool[Tensor, "B n T K"]
    lead: Int[Tensor, "B"]


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
    device, end = first.device, past + chunk
    inside = (past - first) % _BLOCK  # position of the chunk's first token in its block
    whole = int(inside.max()) + chunk > _BLOCK
    size, blocks = (_BLOCK, -(-(int(inside.max()) + chunk) // _BLOCK)) if whole else (chunk, 1)
    lead = inside if whole else torch.zeros_like(inside)
    begin = first[:, None, None]
    starts = past - lead[:, None, None] + size * torch.arange(blocks, device=device)[:, None]  # [B, n, 1]
    queries = starts + torch.arange(size, device=device)  # [B, n, T]
    lowest = begin + window.lowest(queries - begin).clamp(min=0)

    near = max(int((starts - lowest[..., :1]).max()), 0)
    local = starts + torch.arange(-near, size, device=device)  # [B, n, near + T]
    # before a token has lost sight of the first one they are not needed twice
    sink = min(window.sink, max(window.lowest(end - 1), 0)) if window.sliding is None else 0
    sinks = begin + torch.arange(sink, device=device)  # [B, 1, F]

    last = min(end - int(first.min()), window.span) - 1  # position of a block's last query
    offset = last + 1 - size - starts
    # a far key is placed beside the near ones, but never farther from the block than it stands in the document
    block = starts if whole else starts - inside[:, None, None]
    compact = begin + window.lowest(block - begin) - window.sink + torch.arange(sink, device=device)
    sink_positions = (torch.maximum(compact, sinks) + offset).clamp(max=last)

    see_local = (local[..., None, :] >= lowest[..., None]) & (local[..., None, :] <= queries[..., None])
    see_sink = sinks[..., None, :] < lowest[..., None]
    keys = torch.cat([sinks.expand(-1, blocks, -1), local], -1).clamp(0, end - 1)
    visible = torch.cat([see_sink, see_local], -1)
    if valid is not None:
        rows = torch.arange(len(first), device=device)[:, None, None]
        visible = visible & valid[rows, keys][..., None, :]
    positions = torch.cat([sink_positions, local + offset], -1)
    return Plan(keys, positions, last + 1 - size + torch.arange(size, device=device), visible, lead)


def attend(
    query: Float[Tensor, "B H C D"],
    keys: Float[Tensor, "B n G K D"],
    values: Float[Tensor, "B n G K D"],
    plan: Plan,
    rotation: Rotation,
    tables: tuple[Tables, Tables] | None,
    scale: float,
    softcap: float | None = None,
) -> Float[Tensor, "B C H D"]:
    """Attend from every block to its keys: softmax(R(p)q · R(p')k · scale) v over the visible keys.

    Args:
        query: without rotation.
        keys: of each block, gathered by `plan.keys`, without rotation; G heads of keys and values.
        values: likewise.
        plan: of the chunk.
        rotation: of the model.
        tables: of the queries' and of the keys' positions, from `tables_of`; None for a layer without positions.
        scale: factor of the scores.
        softcap: bound of the scores, `softcap · tanh(score / softcap)` (Gemma 2); None for no bound.

    Cost: C (F + W + T) H D multiplications, and a copy of the near keys for every block.
    """
    blocks, size = plan.visible.shape[1:3]
    heads, groups = query.shape[1], keys.shape[2]
    q = _into_blocks(query, plan)  # [B n, H, T, D]
    k, v = keys.flatten(0, 1), values.flatten(0, 1)
    if tables is not None:
        q, k = rotation.rotate(q, tables[0]), rotation.rotate(k, tables[1])
    mask = plan.visible.flatten(0, 1)[:, None]
    # a padded query sees nothing: let it see everything, for a softmax over nothing is not a number
    mask = mask | ~mask.any(-1, keepdim=True)
    # The heads that share a key stand side by side as more queries of that key: no key is copied.
    share = heads // groups
    q = q.unflatten(1, (groups, share)).flatten(2, 3)
    mask = mask.repeat(1, 1, share, 1)
    if softcap is None:
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    else:
        scores = softcap * torch.tanh(q @ k.transpose(-1, -2) * scale / softcap)
        precise = torch.promote_types(scores.dtype, torch.float32)
        out = scores.masked_fill(~mask, -torch.inf).softmax(-1, dtype=precise).to(v.dtype) @ v
    out = out.unflatten(2, (share, size)).flatten(1, 2)  # [B n, H, T, D]
    out = out.unflatten(0, (-1, blocks)).permute(0, 1, 3, 2, 4).flatten(1, 2)  # [B, n T, H, D]
    return _out_of_blocks(out, plan, query.shape[2])


def tables_of(plan: Plan, rotation: Rotation, like: Tensor, layer_type: str | None) -> tuple[Tables, Tables]:
    """Return cosine and sine of the queries' and of the keys' positions.

    Args:
        plan: of the chunk.
        rotation: of the model.
        like: has the dtype of queries and keys.
        layer_type: which frequencies of the rotation are the layer's.
    """
    return (
        rotation.tables(plan.queries[None], like, layer_type),
        rotation.tables(plan.positions.flatten(0, 1), like, layer_type),
    )


def _into_blocks(query: Float[Tensor, "B H C D"], plan: Plan) -> Float[Tensor, "Bn H T D"]:
    """Cut the queries into blocks; the first and the last are filled up with queries of the chunk."""
    batch, _, chunk, _ = query.shape
    blocks, size = plan.visible.shape[1:3]
    if blocks * size == chunk:
        return query.unflatten(2, (blocks, size)).transpose(1, 2).flatten(0, 1)
    index = (torch.arange(blocks * size, device=query.device) - plan.lead[:, None]).clamp(0, chunk - 1)
    rows = torch.arange(batch, device=query.device)[:, None]
    found = query.transpose(1, 2)[rows, index]  # [B, n T, H, D]
    return found.unflatten(1, (blocks, size)).transpose(2, 3).flatten(0, 1)


def _out_of_blocks(out: Float[Tensor, "B nT H D"], plan: Plan, chunk: int) -> Float[Tensor, "B C H D"]:
    """Leave out the queries that filled the blocks up."""
    if out.shape[1] == chunk:
        return out
    rows = torch.arange(len(out), device=out.device)[:, None]
    return out[rows, plan.lead[:, None] + torch.arange(chunk, device=out.device)]
