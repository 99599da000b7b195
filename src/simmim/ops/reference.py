"""The equations, literally, one document and one segment at a time in float64: what every fast form is tested against.

Sections are those of the source document (``docs/design.md`` names them). Letters: N tokens, L segment length,
S segments, H heads, D head width, E model width. Weights come by their state-dict names, as float64 tensors
``[out, in]``. Slow on purpose. In another dtype it is the naive form whose error the fast form is held to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["attention", "cut", "hierarchy", "pool", "smi_attention", "smi_attention_literal"]

Weights = Mapping[str, Tensor]


def attention(
    q: Float[Tensor, "H Q D"], k: Float[Tensor, "H K D"], v: Float[Tensor, "H K D"]
) -> Float[Tensor, "H Q D"]:
    """softmax(Q Kᵀ / √D) V."""
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1) @ v


def smi_attention_literal(
    x: Float[Tensor, "N E"], w: Weights, segment_length: int, num_heads: int
) -> Float[Tensor, "N E"]:
    """Apply SMI attention exactly as §3.1 and §4.1 state it (no rotary positions) to one document."""
    segments = x.split(segment_length)
    # X̂_i = softmax(Q_i K_iᵀ / √D) V_i
    x_hat = [_merge(attention(*(_split(s @ w[f"{n}_proj.weight"].T, num_heads) for n in "qkv"))) for s in segments]
    x_hat = [s @ w["o_proj.weight"].T for s in x_hat]
    # s_i = first vector of X̂_i
    s = torch.stack([segment[0] for segment in x_hat])
    q, k, v = (_split(s @ w[f"state_{n}_proj.weight"].T, num_heads) for n in "qkv")
    # α_ij = softmax over j ≠ i;  s̃_i = s_i + Σ_{j≠i} α_ij (s_j Wv)
    heard = [_merge(attention(q[:, [i]], _without(k, i), _without(v, i)))[0] for i in range(len(s)) if len(s) > 1]
    s_tilde = s + torch.stack(heard) if heard else s
    # X_i = X̂_i + FFN(s̃_i)
    return torch.cat([segment + _ffn(s_tilde[i], w) for i, segment in enumerate(x_hat)])


def smi_attention(
    x: Float[Tensor, "N E"],
    w: Weights,
    *,
    num_heads: int,
    segment_length: int,
    causal: bool = False,
    state_pooling: Literal["first", "last", "mean", "attention"] = "first",
    state_read: Literal["none", "broadcast", "gated_broadcast", "attend"] = "broadcast",
    state_null: bool = False,
    neighbours: int = 0,
    segment_shift: int = 0,
    rotary: bool = True,
    rope_theta: float = 10_000.0,
) -> Float[Tensor, "N E"]:
    """Apply SMI attention with every option to one document: the same weights and options as ``nn.SMIAttention``."""
    shifted = causal or len(x) > segment_length
    pieces = cut(len(x), segment_length, segment_shift if shifted else 0)
    theta = rope_theta if rotary else None
    position = torch.arange(len(x), dtype=torch.float64)
    q, k, v = (_split(x @ w[f"{n}_proj.weight"].T, num_heads) for n in "qkv")
    q, k = _rotate(q, position, theta), _rotate(k, position, theta)

    def window(i: int) -> tuple[Tensor, int]:
        last = i if causal else min(i + neighbours, len(pieces) - 1)
        return torch.cat(pieces[max(0, i - neighbours) : last + 1]), i

    def local(i: int, t: int) -> Tensor:
        keys = window(i)[0]
        return keys[keys <= t] if causal else keys

    def others(i: int) -> list[int]:
        return [j for j in range(len(pieces)) if (j < i if causal else j != i)]

    if state_read == "attend":
        # A state stands at the middle of its segment, counted as if the first segment were as long as the others.
        missing = (segment_length - segment_shift) % segment_length if shifted else 0
        centre = torch.arange(len(pieces), dtype=torch.float64) * segment_length + (segment_length - 1) / 2 - missing
        states = torch.stack([pool(x[p], state_pooling, w) for p in pieces])
        sk, sv = (_split(states @ w[f"state_{n}_proj.weight"].T, num_heads) for n in "kv")
        sk = _rotate(sk, centre, theta)
    out = torch.zeros_like(x)
    for i, piece in enumerate(pieces):
        for t in piece.tolist():
            keys, values = k[:, local(i, t)], v[:, local(i, t)]
            if state_read == "attend":
                keys, values = torch.cat((keys, sk[:, others(i)]), 1), torch.cat((values, sv[:, others(i)]), 1)
                if state_null:
                    null = w["state_null"][None]
                    nk, nv = (_split(null @ w[f"state_{n}_proj.weight"].T, num_heads) for n in "kv")
                    keys, values = torch.cat((keys, _rotate(nk, centre[[i]], theta)), 1), torch.cat((values, nv), 1)
            out[t] = _merge(attention(q[:, [t]], keys, values))[0] @ w["o_proj.weight"].T
    if state_read in ("none", "attend"):
        return out

    entering = torch.stack([out[p[0]] if causal else pool(out[p], state_pooling, w) for p in pieces])
    leaving = torch.stack([pool(out[p], state_pooling, w) for p in pieces])
    index = torch.arange(len(pieces), dtype=torch.float64)
    sq = _rotate(_split(entering @ w["state_q_proj.weight"].T, num_heads), index, theta)
    sk = _rotate(_split(leaving @ w["state_k_proj.weight"].T, num_heads), index, theta)
    sv = _split(leaving @ w["state_v_proj.weight"].T, num_heads)
    result = []
    for i, piece in enumerate(pieces):
        keys, values = sk[:, others(i)], sv[:, others(i)]
        if state_null:
            null = w["state_null"][None]
            nk, nv = (_split(null @ w[f"state_{n}_proj.weight"].T, num_heads) for n in "kv")
            keys, values = torch.cat((keys, _rotate(nk, index[[i]], theta)), 1), torch.cat((values, nv), 1)
        heard = _merge(attention(sq[:, [i]], keys, values))[0] if keys.shape[1] else torch.zeros_like(entering[i])
        message = _ffn(entering[i] + heard, w)
        result.append(out[piece] + (w["state_gate"] * message if state_read == "gated_broadcast" else message))
    return torch.cat(result)


def cut(tokens: int, segment_length: int, segment_shift: int = 0) -> list[Tensor]:
    """Return the token numbers of each segment; the first of a shifted document holds ``segment_shift`` tokens."""
    numbers = torch.arange(tokens)
    first = [numbers[:segment_shift]] if segment_shift else []
    return first + [piece for piece in numbers[segment_shift:].split(segment_length) if len(piece)]


def pool(segment: Float[Tensor, "T E"], how: str, w: Weights) -> Float[Tensor, " E"]:
    """Return the state of one segment: its first or last vector, the mean, or what one learned query attends to."""
    if how == "first":
        return segment[0]
    if how == "last":
        return segment[-1]
    if how == "mean":
        return segment.mean(0)
    score = segment @ w["state_pooling.query"] / segment.shape[-1] ** 0.5
    return torch.softmax(score, dim=0) @ segment


def hierarchy(segments: list[Tensor], w: Weights, aggregator: str) -> list[list[Tensor]]:
    """Merge the segments ``[T, E]`` of one document in pairs until one node is left (§3.2, §4.2); levels from 0 up.

    Positions that only the left node has, and a node without a partner, are carried up unchanged.
    """
    levels = [segments]
    while len(levels[-1]) > 1:
        below = levels[-1]
        merged = []
        for left, right in zip(below[0::2], below[1::2], strict=False):
            both = len(right)
            node = left.clone()
            if aggregator == "concat":
                node[:both] = torch.cat((left[:both], right), -1) @ w["aggregator.merge.weight"].T
            else:
                share = torch.softmax(w["aggregator.logits"], dim=0)
                node[:both] = share[0] * left[:both] + share[1] * right
            merged.append(node)
        levels.append(merged + ([below[-1]] if len(below) % 2 else []))
    return levels


def _split(x: Tensor, num_heads: int) -> Tensor:
    """``[T, E] -> [H, T, D]``."""
    return x.unflatten(-1, (num_heads, -1)).transpose(0, 1)


def _merge(x: Tensor) -> Tensor:
    """``[H, T, D] -> [T, E]``."""
    return x.transpose(0, 1).flatten(1)


def _without(x: Tensor, i: int) -> Tensor:
    return torch.cat((x[:, :i], x[:, i + 1 :]), dim=1)


def _ffn(x: Tensor, w: Weights) -> Tensor:
    return torch.nn.functional.gelu(x @ w["state_ffn.up.weight"].T) @ w["state_ffn.down.weight"].T


def _rotate(x: Float[Tensor, "H T D"], position: Float[Tensor, " T"], theta: float | None) -> Float[Tensor, "H T D"]:
    """Turn channel pairs (c, c + D/2) by position * theta^(-2c/D) (RoFormer, arXiv 2104.09864, eq. 34)."""
    if theta is None:
        return x
    half = x.shape[-1] // 2
    angle = position[:, None] * theta ** (-torch.arange(half, dtype=torch.float64) / half)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
