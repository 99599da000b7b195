"""The fast SMI attention on ragged segments: which keys a segment gathers, and what the states among them weigh.

Letters: S segments of all documents together, R of them in a chunk, L segment length, H heads, D head width, E = H*D,
K keys of one segment, Z states, C states that one segment reads. Cost: S*L*K, with
K = (1 + neighbours)*L (+ neighbours*L when bidirectional) + C; the matrix of weights is stored only for ``on_weights``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from simmim.ops.attention import (
    Piece,
    StateBias,
    fused_attention,
    gather,
    gathered_attention,
    score_bias,
)
from simmim.ops.layout import Neighbour, Reach, SegmentLayout
from simmim.ops.windowed import Reading, Window, is_supported, windowed_attention

__all__ = ["Null", "OnWeights", "log_count_bias", "log_count_scale", "segment_attention"]

ReachedStates = tuple[Float[Tensor, "U C H D"], Float[Tensor, "U C H D"]]
Null = tuple[Float[Tensor, "S H D"], Float[Tensor, "S H D"]]
OnWeights = Callable[[Tensor], Tensor]
"""A hook that gets attention weights and returns those to go on with."""


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
    states: ReachedStates | None = None,
    state_bias: Float[Tensor, " R"] | None = None,
    null: Null | None = None,
    on_weights: OnWeights | None = None,
) -> Float[Tensor, "R L H D"]:
    """Let every token attend, in one softmax, to its segment, the neighbouring segments and states of the others.

    X̂_i = softmax(Q_i K_iᵀ / √D) V_i (source §3.1, §4.1), with the keys of the neighbours, the states within reach and
    the null slot appended to K_i and V_i.

    Args:
        q: queries of the tokens of these rows.
        k: keys of all tokens, empty slots zero.
        v: their values.
        layout: which slots hold tokens, and which segments belong together.
        rows: the segments of the queries.
        causal: tokens read no later token, segment or state.
        neighbours: whole segments read before the own one (bidirectional: also after).
        reach: which states each segment reads; None for none.
        states: keys and values of the states, as ``reach.arrange`` returned them.
        state_bias: what is added to the scores of the states of each of these rows; None for nothing.
        null: key and value of the slot that stands for nothing, for each segment; None for none.
        on_weights: gets the weights ``[R, H, L, K]``, keys in the order own segment, segments before, segments after,
            states, null slot; where it is None they are never computed.

    Returns:
        The attended values; what empty slots get means nothing.
    """
    if not q.shape[0]:
        return torch.zeros_like(q)
    if layout.single:
        neighbours, reach = 0, None
    local = neighbours == 0 and reach is None and null is None and on_weights is None
    if local and (layout.full or (causal and not layout.left_padding)):
        # No empty slot that a token could read: the plain attention of a transformer. (Empty slots at the end of a
        # causal segment come after all of its tokens.)
        return fused_attention(q, k[rows], v[rows], None, is_causal=causal)
    steps = list(range(-1, -neighbours - 1, -1)) + ([] if causal else list(range(1, neighbours + 1)))
    if on_weights is None and null is None and is_supported(q):
        window = _window(layout, rows, causal, steps, whole=q.shape[0] == layout.segments)
        reading = None if reach is None else Reading(reach.row, reach.mask, state_bias)
        return windowed_attention(q, k, v, window, None if reach is None else states, reading, rows.start or 0)
    # The sources, and the pieces of them that each segment reads: its own tokens first, then the others'.
    keys, values, pieces, others = [k], [v], [Piece(0, None)], layout.neighbours(steps)
    for row, _ in others:
        pieces.append(Piece(0, row))
    if reach is not None:
        assert states is not None
        pieces, keys, values = [*pieces, Piece(1, reach.row)], [k, states[0]], [v, states[1]]
    if null is not None:
        pieces.append(Piece(len(keys), None))
        keys.append(null[0][:, None])
        values.append(null[1][:, None])
    if q.shape[0] == layout.segments:
        # Layers that share a layout share the mask; a chunk's is not worth its memory.
        kind = ("key mask", causal, neighbours, type(reach), null is not None)
        mask = layout.memo(kind, _key_mask, layout, rows, causal, others, reach, null is not None)
    else:
        mask = _key_mask(layout, rows, causal, others, reach, null is not None)
    end, bias = mask.shape[-1] - (null is not None), None
    if reach is not None and state_bias is not None:  # states are the last keys but for the null slot
        bias = StateBias(slice(end - reach.mask.shape[1], end), state_bias)
    if on_weights is None:
        return gathered_attention(q, keys, values, pieces, mask, rows, bias)
    k, v = gather(keys, pieces, rows), gather(values, pieces, rows)
    return _shown_attention(q, k, v, score_bias(mask, q.dtype, q.shape[1], bias), on_weights)


def _window(layout: SegmentLayout, rows: slice, causal: bool, steps: list[int], *, whole: bool) -> Window:
    """Return which tokens these segments read; layers that share a layout share that of all segments."""
    if not whole:
        return _make_window(layout, rows, causal, steps)
    window: Window = layout.memo(("window", causal, len(steps)), _make_window, layout, slice(None), causal, steps)
    return window


def _make_window(layout: SegmentLayout, rows: slice, causal: bool, steps: list[int]) -> Window:
    mask = _key_mask(layout, rows, causal, layout.neighbours(steps), None, False)
    # From the order own, before, after to that of the text.
    blocks = mask.unflatten(-1, (1 + len(steps), layout.segment_length))
    order = sorted(range(1 + len(steps)), key=[0, *steps].__getitem__)
    mask = blocks[..., order, :].flatten(-2)
    before = sum(step < 0 for step in steps)
    return Window(before, len(steps) - before, mask)


def _key_mask(
    layout: SegmentLayout, rows: slice, causal: bool, others: list[Neighbour], reach: Reach | None, null: bool
) -> Bool[Tensor, "R _ K"]:
    """Say which gathered keys each slot may read; one row for all slots of a segment if they may read the same."""
    valid = layout.valid[rows]
    own = valid[:, None]
    if causal:
        slots = torch.arange(layout.segment_length, device=own.device)
        own = own & (slots <= slots[:, None])
        # An empty slot before the first token of a shifted segment could read nothing, and a softmax over nothing is
        # NaN: let it read itself.
        own = own | (~valid[:, :, None] & torch.eye(slots.shape[0], dtype=torch.bool, device=own.device))
    elif layout.rows is not None:
        # The same for a row without tokens, where a document has fewer segments than another: let it read anything.
        own = own | ~valid.any(1)[:, None, None]
    parts = [own]
    for neighbour, exists in others:
        parts.append((layout.valid[neighbour[rows]] & exists[rows][:, None])[:, None])
    if reach is not None:
        parts.append(reach.mask[rows][:, None])
    if null:
        parts.append(torch.ones_like(valid[:, :1])[:, None])
    return torch.cat([part.expand(-1, own.shape[1], -1) for part in parts], dim=-1)


def _shown_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, on_weights: OnWeights) -> Tensor:
    """Attend as ``fused_attention`` does, with weights that are computed to be shown."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias
    return (on_weights(torch.softmax(scores, dim=-1)) @ v).transpose(1, 2)


def log_count_bias(read: Bool[Tensor, "S C"], most: int | None, dtype: torch.dtype) -> Float[Tensor, " S"] | None:
    """Return what the scores of states get so that n of them weigh together no more than so many keys.

    -log(n / most) where n is larger, else 0 (decision 0012); None if nothing is added anywhere.

    Args:
        read: which states each segment reads.
        most: keys; None for no limit.
        dtype: of the scores; the bias is float32 or better.
    """
    if most is None or (not torch.compiler.is_exporting() and read.shape[1] <= most):
        return None
    return (most / read.sum(1).clamp(min=most).to(torch.promote_types(dtype, torch.float32))).log()


def log_count_scale(
    q: Float[Tensor, "*T H D"], sharpness: Float[Tensor, " H"], states: Shaped[Tensor, "*#T"]
) -> Float[Tensor, "*T H D"]:
    """Multiply the queries of tokens that read so many states by 1 + σ log(1 + n), σ one learned number a head.

    What is looked for then stands out from n as it does from few (log n scaling: Nakanishi, arXiv 2501.19399).
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    scale = 1 + sharpness.to(dtype) * states.to(dtype).log1p()[..., None]
    return q * scale.to(q.dtype)[..., None]
