"""The equations, literally, one document and one segment at a time in float64: what every fast form is tested against.

Sections are those of the source document (``docs/design.md`` names them). Letters: N tokens, L segment length,
S segments, H heads, D head width, E model width. Weights come by their state-dict names, as float64 tensors
``[out, in]``. Slow on purpose. In another dtype it is the naive form whose error the fast form is held to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from simmim.ops.options import AttentionOptions

__all__ = [
    "attention",
    "cnn_segments",
    "cut",
    "hierarchy",
    "lstm_segments",
    "pool",
    "smi_attention",
    "smi_attention_literal",
    "state_cover",
    "state_node",
    "two_level_attention",
]

Weights = Mapping[str, Tensor]


def attention(
    q: Float[Tensor, "H Q D"], k: Float[Tensor, "H K D"], v: Float[Tensor, "H K D"], weight: Tensor | None = None
) -> Float[Tensor, "H Q D"]:
    """softmax(Q Kᵀ / √D) V; a key of weight w counts as w equal keys do."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return torch.softmax(scores if weight is None else scores + weight.log(), dim=-1) @ v


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


def smi_attention(x: Float[Tensor, "N E"], w: Weights, options: AttentionOptions) -> Float[Tensor, "N E"]:
    """Apply SMI attention with every option to one document: the same weights and options as ``nn.SMIAttention``."""
    num_heads, segment_length, causal = options.num_heads, options.segment_length, options.causal
    state_read, neighbours = options.state_read, options.neighbours
    shifted = causal or len(x) > segment_length
    pieces = cut(len(x), segment_length, options.segment_shift if shifted else 0)
    theta = options.rope_theta if options.rotary else None
    half = x.shape[-1] // num_heads // 2
    rotated = math.ceil(half * options.partial_rotary_factor) if options.rotary else 0
    position = torch.arange(len(x), dtype=torch.float64)
    q, k, v = (_split(x @ w[f"{n}_proj.weight"].T, num_heads) for n in "qkv")
    q, k = _rotate(q, position, theta, rotated), _rotate(k, position, theta, rotated)

    def window(i: int) -> tuple[Tensor, int]:
        last = i if causal else min(i + neighbours, len(pieces) - 1)
        return torch.cat(pieces[max(0, i - neighbours) : last + 1]), i

    def local(i: int, t: int) -> Tensor:
        keys = window(i)[0]
        return keys[keys <= t] if causal else keys

    def others(i: int) -> list[int]:
        return [j for j in range(len(pieces)) if (j < i if causal else j != i)]

    def read(i: int, states: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the states that segment i reads, which stand at these places."""
        if options.state_reach == "all":
            vectors, places = states[others(i)], place[others(i)]
        else:
            spans = state_cover(others(i), len(pieces))
            cover = [state_node(states, place, *span, w, options.aggregator) for span in spans]
            vectors = torch.stack([vector for vector, _ in cover]) if cover else states[:0]
            places = torch.stack([where for _, where in cover]) if cover else place[:0]
        if options.state_null:
            vectors, places = torch.cat((vectors, w["state_null"][None])), torch.cat((places, place[[i]]))
        tied = state_read == "attend" and options.tie_state_projections
        k, v = (
            _split(vectors @ w[f"{n}_proj.weight" if tied else f"state_{n}_proj.weight"].T, num_heads) for n in "kv"
        )
        if state_read == "attend" and 0 < rotated < half:
            # Keys of states have the channels that are not rotated: pairs (c, c + D/2) from c = rotated on.
            still = torch.arange(2 * half) % half >= rotated
            key = k.new_zeros(*k.shape[:2], 2 * half)
            key[..., still] = k[..., still] if tied else k
            return key, v
        return _rotate(k, places, theta, rotated), v

    if state_read == "attend":
        # A state stands at the middle of its segment, counted as if the first segment were as long as the others.
        missing = (segment_length - options.segment_shift) % segment_length if shifted else 0
        centre = torch.arange(len(pieces), dtype=torch.float64) * segment_length + (segment_length - 1) / 2 - missing
        states = torch.stack([pool(x[p], options.state_pooling, w) for p in pieces])
    out = torch.zeros_like(x)
    for i, piece in enumerate(pieces):
        sk, sv = read(i, states, centre) if state_read == "attend" else (k[:, :0], v[:, :0])
        found = sk.shape[1] - options.state_null if state_read == "attend" else 0
        for t in piece.tolist():
            keys, values = torch.cat((k[:, local(i, t)], sk), 1), torch.cat((v[:, local(i, t)], sv), 1)
            weight, query = torch.ones(keys.shape[1], dtype=x.dtype), q[:, [t]]
            most = 1 if options.state_weight == "shared" else options.trained_states
            if most is not None and found > most:
                near = len(local(i, t))
                weight[near : near + found] = most / found
            if options.state_weight == "shared" and found:
                query = query * (1 + w["sharpness"] * math.log(1 + found))[:, None, None]
            out[t] = _merge(attention(query, keys, values, weight))[0] @ w["o_proj.weight"].T
    if state_read in ("none", "attend"):
        return out

    entering = torch.stack([out[p[0]] if causal else pool(out[p], options.state_pooling, w) for p in pieces])
    leaving = torch.stack([pool(out[p], options.state_pooling, w) for p in pieces])
    index = torch.arange(len(pieces), dtype=torch.float64)
    sq = _rotate(_split(entering @ w["state_q_proj.weight"].T, num_heads), index, theta, rotated)
    result = []
    for i, piece in enumerate(pieces):
        keys, values = read(i, leaving, index)
        heard = _merge(attention(sq[:, [i]], keys, values))[0] if keys.shape[1] else torch.zeros_like(entering[i])
        message = _ffn(entering[i] + heard, w)
        result.append(out[piece] + (w["state_gate"] * message if state_read == "gated_broadcast" else message))
    return torch.cat(result)


def state_cover(wanted: list[int], segments: int) -> list[tuple[int, int]]:
    """Return the fewest aligned spans (first, size 2^h) that cover exactly the wanted segments, small ones first."""
    spans = []

    def visit(first: int, size: int) -> None:
        inside = range(first, min(first + size, segments))
        if inside and all(j in wanted for j in inside):
            spans.append((first, size))
        elif any(j in wanted for j in inside):
            visit(first, size // 2)
            visit(first + size // 2, size // 2)

    visit(0, 1 << max(0, segments - 1).bit_length())
    return sorted(spans, key=lambda span: span[1])


def state_node(
    states: Float[Tensor, "S E"], place: Float[Tensor, " S"], first: int, size: int, w: Weights, aggregator: str
) -> tuple[Float[Tensor, " E"], Tensor]:
    """Return the pyramid node over ``size`` segments from ``first`` on, and its place: the mean of its children's.

    norm(s) for one segment, norm(aggregator(left, right)) for two nodes; without a right one, the left one.
    """
    if size == 1:
        return _norm(states[first], w["state_norm.weight"]), place[first]
    left, left_place = state_node(states, place, first, size // 2, w, aggregator)
    if first + size // 2 >= len(states):
        return left, left_place
    right, right_place = state_node(states, place, first + size // 2, size // 2, w, aggregator)
    own = {name.removeprefix("state_"): tensor for name, tensor in w.items() if name.startswith("state_aggregator.")}
    merged = hierarchy([left[None], right[None]], own, aggregator)[-1][0][0]
    return _norm(merged, w["state_norm.weight"]), (left_place + right_place) / 2


def two_level_attention(
    x: Float[Tensor, "N E"],
    memory: Float[Tensor, "M E"],
    w: Weights,
    *,
    num_heads: int,
    segment_length: int,
    top_k: int,
) -> Float[Tensor, "N E"]:
    """Let every query of a head read the ``top_k`` segments of a memory whose states (their means) score best (§2.5).

    p(token) = p(segment) p(token | segment), p(segment) a softmax over the segments chosen.
    """
    states = torch.stack([segment.mean(0) for segment in memory.split(segment_length)])
    q, state_k = _split(x @ w["q_proj.weight"].T, num_heads), _split(states @ w["state_k_proj.weight"].T, num_heads)
    k, v = (_split(memory @ w[f"{n}_proj.weight"].T, num_heads) for n in "kv")
    k, v = k.split(segment_length, dim=1), v.split(segment_length, dim=1)
    heads = []
    for h in range(num_heads):
        read = []
        for t in range(len(x)):
            best = (state_k[h] @ q[h, t] / q.shape[-1] ** 0.5).topk(min(top_k, len(states)))
            within = [attention(q[[h], t][:, None], k[i][[h]], v[i][[h]])[0, 0] for i in best.indices.tolist()]
            read.append(torch.softmax(best.values, dim=0) @ torch.stack(within))
        heads.append(torch.stack(read))
    return _merge(torch.stack(heads)) @ w["o_proj.weight"].T


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
            elif aggregator == "attention":
                own = {name.removeprefix("aggregator."): tensor for name, tensor in w.items()}
                node[:both] = _attend_pair(left, right, own)[:both]
            else:
                share = torch.softmax(w["aggregator.logits"], dim=0)
                node[:both] = share[0] * left[:both] + share[1] * right
            merged.append(node)
        levels.append(merged + ([below[-1]] if len(below) % 2 else []))
    return levels


def lstm_segments(x: Float[Tensor, "N E"], w: Weights, segments: list[Tensor]) -> Float[Tensor, "N E"]:
    """Run a bidirectional LSTM over each segment (token numbers, as ``cut`` gives them), then o_proj."""

    def run(tokens: Tensor, suffix: str) -> Tensor:
        h = c = x.new_zeros(x.shape[1] // 2)
        seen = []
        for token in tokens:
            gates = w[f"lstm.weight_ih_l0{suffix}"] @ token + w[f"lstm.bias_ih_l0{suffix}"]
            gates = gates + w[f"lstm.weight_hh_l0{suffix}"] @ h + w[f"lstm.bias_hh_l0{suffix}"]
            i, f, g, o = gates.chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            seen.append(h)
        return torch.stack(seen)

    both = [torch.cat((run(x[p], ""), run(x[p].flip(0), "_reverse").flip(0)), -1) for p in segments]
    return torch.cat(both) @ w["o_proj.weight"].T


def cnn_segments(x: Float[Tensor, "N E"], w: Weights, segments: list[Tensor]) -> Float[Tensor, "N E"]:
    """Convolve each segment with zeros beyond its ends, gate the result with its second half, then o_proj."""
    kernel = w["conv.weight"]
    reach = kernel.shape[2] // 2
    out = []
    for piece in segments:
        for t in range(len(piece)):
            summed = w["conv.bias"]
            for offset in range(-reach, reach + 1):
                if 0 <= t + offset < len(piece):
                    summed = summed + kernel[:, :, offset + reach] @ x[piece[t + offset]]
            value, gate = summed.chunk(2)
            out.append(value * gate.sigmoid())
    return torch.stack(out) @ w["o_proj.weight"].T


def _attend_pair(left: Tensor, right: Tensor, w: Weights) -> Tensor:
    """Mean + the 2L positions attended by the L means, heads of 64 channels or the widest even number that fits."""
    width, both = left.shape[-1], len(right)
    head = max((d for d in range(2, 65, 2) if width % d == 0), default=width)
    heads, theta = width // head, 10_000.0 if head % 2 == 0 else None
    mean = left / 2
    mean[:both] = (left[:both] + right) / 2
    place = torch.arange(len(left), dtype=torch.float64)
    q = _rotate(_split(mean @ w["q_proj.weight"].T, heads), place, theta)
    keys = torch.cat((left + w["side"][0], right + w["side"][1])) @ w["k_proj.weight"].T
    k = _rotate(_split(keys, heads), torch.cat((place, place[:both])), theta)
    v = _split(torch.cat((left, right)) @ w["v_proj.weight"].T, heads)
    return mean + _merge(attention(q, k, v)) @ w["o_proj.weight"].T


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


def _norm(x: Tensor, scale: Tensor) -> Tensor:
    """RMS norm (arXiv 1910.07467)."""
    return x / (x.square().mean() + 1e-6).sqrt() * scale


def _rotate(
    x: Float[Tensor, "H T D"], position: Float[Tensor, " T"], theta: float | None, rotated: int | None = None
) -> Float[Tensor, "H T D"]:
    """Rotate channel pairs (c, c + D/2), the first ones, by position * theta^(-2c/D) (arXiv 2104.09864, eq. 34)."""
    if theta is None:
        return x
    half = x.shape[-1] // 2
    angle = position[:, None] * theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle[:, half if rotated is None else rotated :] = 0
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
