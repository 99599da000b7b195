"""The fast SMI attention on ragged segments: what tokens read, and what states tell each other.

Letters: S segments of all documents together, L segment length, H heads, D head width, E = H*D, K keys of one segment.
Keys of a segment are gathered side by side and read in one softmax by torch's fused attention, so the matrix of weights
is never stored. Cost: S*L*K, with K = (1 + neighbours)*L (+ neighbours*L when bidirectional) + the states read.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from simmim.ops.segments import SegmentLayout

__all__ = ["decode_attention", "exchange_states", "segment_attention"]

GATHER_LIMIT = 1 << 25
"""Most numbers (keys and values) gathered at a time where no gradient is wanted: 128 MiB in float32."""


def segment_attention(
    q: Float[Tensor, "S L H D"],
    k: Float[Tensor, "S L H D"],
    v: Float[Tensor, "S L H D"],
    layout: SegmentLayout,
    *,
    causal: bool = False,
    neighbours: int = 0,
    states: tuple[Float[Tensor, "S H D"], Float[Tensor, "S H D"]] | None = None,
    null: tuple[Float[Tensor, "S H D"], Float[Tensor, "S H D"]] | None = None,
) -> Float[Tensor, "S L H D"]:
    """Let every token attend, in one softmax, to its segment, the neighbouring segments and the other segments' states.

    X̂_i = softmax(Q_i K_iᵀ / √D) V_i (source §3.1, §4.1), with the keys of the neighbours, the states of the segments
    j != i (causal: j < i) and the null slot appended to K_i and V_i.

    Args:
        q: queries of the tokens.
        k: keys of the tokens, empty slots zero.
        v: values of the tokens, empty slots zero.
        layout: which slots hold tokens, and which segments belong together.
        causal: tokens read no later token, segment or state.
        neighbours: whole segments read before the own one (bidirectional: also after).
        states: keys and values of the segment states; None to read none.
        null: key and value of the slot that reads nothing, for each segment; None for none.

    Returns:
        The attended values; what stands in empty slots means nothing.
    """
    if not layout.segments:
        return torch.zeros_like(q)
    reads_states = states is not None and layout.max_segments > 1
    reads_neighbours = neighbours > 0 and layout.max_segments > 1
    own_segment_only = not reads_states and not reads_neighbours and null is None
    if own_segment_only and (layout.full or (causal and not layout.lead)):
        # No empty slot that a token could see: the plain attention of a transformer.
        return _attend(q, k, v, None, is_causal=causal)
    steps = [0]
    if reads_neighbours:
        steps += [-d for d in range(1, neighbours + 1)]
        steps += [] if causal else list(range(1, neighbours + 1))
    mask = layout.memo(
        ("mask", causal, tuple(steps), reads_states, null is not None),
        lambda: _key_mask(layout, causal, steps, reads_states, null is not None),
    )
    rows_at_once = layout.segments
    if not torch.is_grad_enabled():
        rows_at_once = max(1, GATHER_LIMIT // (2 * mask.shape[-1] * q.shape[-1] * q.shape[-2]))

    def gather(tokens: Tensor, states: Tensor | None, null: Tensor | None, rows: slice) -> Tensor:
        parts = [tokens[rows]]
        parts += [tokens.index_select(0, layout.neighbour(step)[0][rows]) for step in steps[1:]]
        if states is not None:
            if layout.counts.numel() == 1:
                parts.append(states.expand(parts[0].shape[0], *states.shape[1:]))
            else:
                parts.append(states.index_select(0, layout.document[rows]))
        if null is not None:
            parts.append(null[rows, None])
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    state_keys, state_values = (None, None)
    if states is not None and reads_states:
        state_keys, state_values = (layout.by_document(state) for state in states)
    null_key, null_value = null if null is not None else (None, None)
    outputs = []
    for start in range(0, layout.segments, rows_at_once):
        rows = slice(start, start + rows_at_once)
        keys = gather(k, state_keys, null_key, rows)
        values = gather(v, state_values, null_value, rows)
        outputs.append(_attend(q[rows], keys, values, mask[rows]))
    return torch.cat(outputs) if len(outputs) != 1 else outputs[0]


def exchange_states(
    q: Float[Tensor, "S H D"],
    k: Float[Tensor, "S H D"],
    v: Float[Tensor, "S H D"],
    layout: SegmentLayout,
    *,
    causal: bool = False,
    null: tuple[Float[Tensor, "S H D"], Float[Tensor, "S H D"]] | None = None,
) -> Float[Tensor, "S H D"]:
    """Return Σ_{j≠i} α_ij (s_j Wv) for every state (source §3.1; causal: j < i), zero where there is nothing to read.

    α_ij = softmax over j of (s_i Wq)(s_j Wk)ᵀ / √D. Cost: the square of the longest document's segments, for each
    document.
    """
    if not layout.segments:
        return torch.zeros_like(q)
    allowed = layout.readable(causal)
    nothing = ~allowed.any(1)

    scores = torch.einsum("bihd,bjhd->bihj", layout.by_document(q), layout.by_document(k)) * q.shape[-1] ** -0.5
    row_in_table = layout.document * layout.max_segments + layout.rank
    scores = scores.flatten(0, 1).index_select(0, row_in_table).masked_fill(~allowed[:, None], float("-inf"))
    if null is None:
        # The sum over nothing is zero: a segment that may read no other reads this slot, whose value is zero.
        extra = torch.zeros_like(scores[..., :1]).masked_fill(~nothing[:, None, None], float("-inf"))
    else:
        extra = (q * null[0]).sum(-1, keepdim=True) * q.shape[-1] ** -0.5
    weights = torch.softmax(torch.cat((scores, extra), dim=-1), dim=-1)
    table_weights = weights.new_zeros(layout.table.numel(), *weights.shape[1:]).index_copy(0, row_in_table, weights)
    table_weights = table_weights.view(*layout.table.shape, *weights.shape[1:])
    read = torch.einsum("bihj,bjhd->bihd", table_weights[..., :-1], layout.by_document(v))
    read = read.flatten(0, 1).index_select(0, row_in_table)
    return read if null is None else read + weights[..., -1:] * null[1]


def decode_attention(
    q: Float[Tensor, "B H D"],
    k: Float[Tensor, "B K H D"],
    v: Float[Tensor, "B K H D"],
    allowed: Bool[Tensor, "B K"],
) -> Float[Tensor, "B H D"]:
    """Let one token of each document attend to the keys that it may read."""
    return _attend(q[:, None], k, v, allowed[:, None])[:, 0]


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, is_causal: bool = False) -> Tensor:
    """Fused attention on ``[S, L, H, D]`` queries and ``[S, K, H, D]`` keys and values; mask ``[S, 1 or L, K]``."""
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=None if mask is None else mask[:, None].expand(-1, -1, q.shape[1], -1),
        is_causal=is_causal,
    )
    return out.transpose(1, 2)


def _key_mask(layout: SegmentLayout, causal: bool, steps: list[int], states: bool, null: bool) -> Bool[Tensor, "S _ K"]:
    """Say which gathered keys each slot may read; one row for all slots of a segment if they may read the same."""
    own = layout.mask[:, None]
    if causal:
        slots = torch.arange(layout.segment_length, device=own.device)
        own = own & (slots <= slots[:, None])
        # An empty slot before the first token of a shifted segment could read nothing: let it read itself.
        own = own | (~layout.mask[:, :, None] & torch.eye(len(slots), dtype=torch.bool, device=own.device))
    parts = [own]
    for step in steps[1:]:
        rows, exists = layout.neighbour(step)
        parts.append((layout.mask[rows] & exists[:, None])[:, None])
    if states:
        parts.append(layout.readable(causal)[:, None])
    if null:
        parts.append(torch.ones_like(layout.mask[:, :1])[:, None])
    return torch.cat([part.expand(-1, own.shape[1], -1) for part in parts], dim=-1)
