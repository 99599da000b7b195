"""The fast SMI attention on ragged segments: what tokens read, and what states tell each other.

Letters: S segments of all documents together, L segment length, H heads, D head width, E = H*D, K keys of one segment,
M states, C states that one segment reads. Keys of a segment are gathered side by side and read in one softmax by
torch's fused attention, so the matrix of weights is never stored unless somebody wants to see it. Cost: S*L*K, with
K = (1 + neighbours)*L (+ neighbours*L when bidirectional) + C.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from simmim.ops.gathered import Added, Piece, fused_attention, gather, gathered_attention, score_bias
from simmim.ops.kernels import scaled_dot_product_attention
from simmim.ops.reach import Reach
from simmim.ops.segments import SegmentLayout

__all__ = ["decode_attention", "exchange_states", "key_bias", "segment_attention"]

States = tuple[Float[Tensor, "M H D"], Float[Tensor, "M H D"]]
Arranged = tuple[Float[Tensor, "U C H D"], Float[Tensor, "U C H D"]]
Null = tuple[Float[Tensor, "S H D"], Float[Tensor, "S H D"]]
See = Callable[[Tensor], Tensor]
"""Gets attention weights and returns those to go on with."""


def segment_attention(
    q: Float[Tensor, "R L H D"],
    k: Float[Tensor, "S L H D"],
    v: Float[Tensor, "S L H D"],
    layout: SegmentLayout,
    *,
    rows: slice = slice(None),
    causal: bool = False,
    neighbours: int = 0,
    reach: Reach | None = None,
    states: Arranged | None = None,
    share: Float[Tensor, " R"] | None = None,
    null: Null | None = None,
    see: See | None = None,
) -> Float[Tensor, "R L H D"]:
    """Let every token attend, in one softmax, to its segment, the neighbouring segments and states of the others.

    X̂_i = softmax(Q_i K_iᵀ / √D) V_i (source §3.1, §4.1), with the keys of the neighbours, the states within reach and
    the null slot appended to K_i and V_i.

    Args:
        q: queries of the tokens of these rows.
        k: keys of all tokens, empty slots zero.
        v: values of all tokens, empty slots zero.
        layout: which slots hold tokens, and which segments belong together.
        rows: the segments that ask.
        causal: tokens read no later token, segment or state.
        neighbours: whole segments read before the own one (bidirectional: also after).
        reach: which states each segment reads; None for none.
        states: keys and values of the states, as ``reach.arrange`` returned them.
        share: what is added to the scores of the states of each of these rows; None for nothing.
        null: key and value of the slot that reads nothing, for each segment; None for none.
        see: gets the weights ``[R, H, L, K]``, keys in the order own segment, segments before, segments after, states,
            null slot; where it is None they are never made.

    Returns:
        The attended values; what stands in empty slots means nothing.
    """
    if not q.shape[0]:
        return torch.zeros_like(q)
    if layout.single:
        neighbours, reach = 0, None
    if (
        neighbours == 0
        and reach is None
        and null is None
        and see is None
        and (layout.full or (causal and not layout.lead))
    ):
        # No empty slot that a token could see: the plain attention of a transformer.
        return fused_attention(q, k[rows], v[rows], None, is_causal=causal)
    steps = [-d for d in range(1, neighbours + 1)]
    steps += [] if causal else list(range(1, neighbours + 1))
    if q.shape[0] == layout.segments:
        # Layers that share a layout share the mask; a part's is not worth its memory.
        kind = ("key mask", causal, neighbours, type(reach), null is not None)
        key_mask = layout.memo(kind, lambda: _key_mask(layout, rows, causal, steps, reach, null is not None))
    else:
        key_mask = _key_mask(layout, rows, causal, steps, reach, null is not None)
    keys, values = [k], [v]
    pieces = [Piece(0, None), *(Piece(0, layout.neighbour(step)[0]) for step in steps)]
    if reach is not None:
        assert states is not None
        keys.append(states[0])
        values.append(states[1])
        pieces.append(Piece(1, reach.row))
    if null is not None:
        pieces.append(Piece(len(keys), None))
        keys.append(null[0][:, None])
        values.append(null[1][:, None])
    added = None
    if reach is not None and share is not None:
        end = key_mask.shape[-1] - (null is not None)
        added = Added(slice(end - reach.mask.shape[1], end), share)
    if see is None:
        return gathered_attention(q, keys, values, pieces, key_mask, rows, added)
    bias = score_bias(key_mask, q.dtype, q.shape[1], added)
    return _seen_attention(q, gather(keys, pieces, rows), gather(values, pieces, rows), bias, see)


def exchange_states(
    q: Float[Tensor, "S H D"],
    states: States,
    reach: Reach,
    *,
    null: Null | None = None,
    see: See | None = None,
) -> Float[Tensor, "S H D"]:
    """Return Σ_{j≠i} α_ij (s_j Wv) for every state (source §3.1; causal: j < i), zero where there is nothing to read.

    α_ij = softmax over j of (s_i Wq)(s_j Wk)ᵀ / √D. ``see`` gets the weights ``[S, H, C]``, and ``[S, H, C + 1]`` with
    a null slot. Cost: S·C; for ``EverySegment`` the square of the longest document's segments, for each document.
    """
    if not q.shape[0]:
        return torch.zeros_like(q)
    scale = q.shape[-1] ** -0.5
    scores = (reach.scores(q, states[0]) * scale).masked_fill(~reach.mask[:, None], float("-inf"))
    if null is None:
        # The sum over nothing is zero: a segment that may read no other reads this slot, whose value is zero.
        nothing = ~reach.mask.any(1)
        extra = torch.zeros_like(q[..., :1]).masked_fill(~nothing[:, None, None], float("-inf"))
    else:
        extra = (q * null[0]).sum(-1, keepdim=True) * scale
    weights = torch.softmax(torch.cat((scores, extra), dim=-1), dim=-1)
    if see is not None:
        weights = see(weights) if null is not None else F.pad(see(weights[..., :-1]), (0, 1))
    read = reach.mix(weights[..., :-1], states[1])
    return read if null is None else read + weights[..., -1:] * null[1]


def decode_attention(
    q: Float[Tensor, "B H D"],
    k: Float[Tensor, "B H K D"],
    v: Float[Tensor, "B H K D"],
    bias: Float[Tensor, "U 1 1 K"],
    *,
    see: See | None = None,
) -> Float[Tensor, "B E"]:
    """Let one token of each document attend to the keys that it may read.

    Args:
        q: its query.
        k: keys, as a cache holds them.
        v: values.
        bias: ``key_bias`` of the keys; one row if all documents may read the same.
        see: gets the weights ``[B, H, 1, K]``.
    """
    q = q.unsqueeze(2)
    if see is None:
        return scaled_dot_product_attention(q, k, v, attn_mask=bias).flatten(1)
    weights = see(torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias, dim=-1))
    return (weights @ v).flatten(1)


def key_bias(read: list[list[float]], like: Tensor) -> Float[Tensor, "U 1 1 K"]:
    """Return what is added to the scores of one token, as a tensor of the dtype of another, and where that is.

    Args:
        read: READ or UNREAD for each of K keys; one row if all documents may read the same.
        like: this other tensor.
    """
    bias = np.array(read, dtype=np.float32).reshape(len(read), 1, 1, -1 if read else 0)
    return torch.from_numpy(bias).to(like.device, like.dtype)


def _seen_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, see: See) -> Tensor:
    """Attend as ``fused_attention`` does, and show the weights."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias
    return (see(torch.softmax(scores, dim=-1)) @ v).transpose(1, 2)


def _key_mask(
    layout: SegmentLayout, rows: slice, causal: bool, steps: list[int], reach: Reach | None, null: bool
) -> Bool[Tensor, "R _ K"]:
    """Say which gathered keys each slot may read; one row for all slots of a segment if they may read the same."""
    held = layout.held[rows]
    own = held[:, None]
    if causal:
        slots = torch.arange(layout.segment_length, device=own.device)
        own = own & (slots <= slots[:, None])
        # An empty slot before the first token of a shifted segment could read nothing: let it read itself.
        own = own | (~held[:, :, None] & torch.eye(slots.shape[0], dtype=torch.bool, device=own.device))
    elif layout.rows is not None:
        # So with a segment of nothing, which stands where a document has fewer than another.
        own = own | ~held.any(1)[:, None, None]
    found = [own]
    for step in steps:
        neighbour, exists = layout.neighbour(step)
        found.append((layout.held[neighbour[rows]] & exists[rows][:, None])[:, None])
    if reach is not None:
        found.append(reach.mask[rows][:, None])
    if null:
        found.append(torch.ones_like(held[:, :1])[:, None])
    return torch.cat([part.expand(-1, own.shape[1], -1) for part in found], dim=-1)
