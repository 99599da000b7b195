"""Contracts 2, 3, 5, 6, 7 and 8 of the design on the layer and the ops, whatever the options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from simmim.nn import SMIAttention
from simmim.ops.exchange import exchange_states
from simmim.ops.layout import EverySegment, Reach, SegmentLayout
from simmim.ops.pyramid import PyramidNodes, StatePyramid
from simmim.ops.smi import segment_attention
from support import (
    DEFAULT,
    HEADS,
    HIDDEN,
    LENGTH,
    LITERAL,
    batch_of,
    documents,
    every_option,
    name_of,
    random_layer,
    reference_output,
    some_options,
)

LAYERS = list(every_option())
CAUSAL = some_options(causal=True)


@settings(max_examples=60)
@given(
    options=st.sampled_from(LAYERS),
    lengths=st.lists(st.integers(0, 26), min_size=1, max_size=4),
    extra=st.integers(0, 5),
    seed=st.integers(0, 999),
)
def test_any_batch_equals_the_equations(options: dict[str, Any], lengths: list[int], extra: int, seed: int) -> None:
    """Contract 1, over shapes, masks and options."""
    layer = random_layer(seed=seed, **options)
    texts = documents(lengths, seed=seed)
    hidden, mask = batch_of(texts, max(lengths) + extra, seed=seed)
    output = layer(hidden, mask)
    assert not output[~mask].any()
    for row, text in enumerate(texts):
        torch.testing.assert_close(output[row][mask[row]], reference_output(layer, text, options), rtol=0, atol=1e-10)


@settings(max_examples=60)
@given(
    tokens=st.integers(1, 30),
    causal=st.booleans(),
    neighbours=st.integers(0, 1),
    shift=st.sampled_from([0, 3]),
    reach=st.sampled_from([None, EverySegment, PyramidNodes]),
    null=st.booleans(),
)
def test_constant_values_come_back(
    tokens: int, causal: bool, neighbours: int, shift: int, reach: type[Reach] | None, null: bool
) -> None:
    """Contract 2: if all values are 1, attention returns 1, because its weights sum to one."""
    mask = torch.rand(2, tokens, generator=torch.Generator().manual_seed(tokens)) < 0.8
    layout = SegmentLayout.build(2, tokens, LENGTH, attention_mask=mask, causal=causal, segment_shift=shift)
    q, k = (layout.to_segments(torch.randn(2, tokens, HEADS, 4, dtype=torch.float64)) for _ in range(2))
    v = layout.to_segments(torch.ones(2, tokens, HEADS, 4, dtype=torch.float64))
    pyramid = StatePyramid.of(layout)
    nodes = layout.segments + sum(len(pair.left) for pair in pyramid.pairings)
    states = (torch.randn(nodes, HEADS, 4).double(), torch.ones(nodes, HEADS, 4).double())
    slot = (torch.randn(layout.segments, HEADS, 4).double(), torch.ones(layout.segments, HEADS, 4).double())
    reads = {
        None: None,
        EverySegment: EverySegment(layout, causal),
        PyramidNodes: PyramidNodes(layout, causal, pyramid),
    }[reach]
    out = segment_attention(
        q,
        k,
        v,
        layout,
        causal=causal,
        neighbours=neighbours,
        reach=reads,
        states=(reads.arrange(states[0]), reads.arrange(states[1])) if reads else None,
        null=slot if null else None,
    )
    held = layout.to_tokens(out)[mask]
    torch.testing.assert_close(held, torch.ones_like(held))
    if reads is not None:
        heard = exchange_states(slot[0], states, reads, null=slot if null else None)
        something = layout.readable(causal).any(1) | null
        torch.testing.assert_close(heard[something], torch.ones_like(heard[something]))
        assert not heard[~something].any(), "the sum over nothing is zero"


@pytest.mark.parametrize("options", CAUSAL, ids=name_of)
def test_no_leak_by_value(options: dict[str, Any]) -> None:
    """Contract 3: outputs up to t stay the same to the last bit when tokens after t change."""
    layer = random_layer(**options)
    [text] = documents([3 * LENGTH + 2])
    before = layer(text[None])[0]
    for t in range(len(text) - 1):
        changed = text.clone()
        changed[t + 1 :] = torch.randn_like(changed[t + 1 :]) * 100
        torch.testing.assert_close(layer(changed[None])[0, : t + 1], before[: t + 1], rtol=0, atol=1e-13)
        shorter = layer(text[None, : t + 1])[0]
        torch.testing.assert_close(shorter, before[: t + 1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("options", CAUSAL, ids=name_of)
def test_no_leak_by_gradient(options: dict[str, Any]) -> None:
    """Contract 3: no output has a gradient with respect to a later token, and reads every token of its own segment."""
    layer = random_layer(**options)
    [text] = documents([3 * LENGTH + 2])
    text.requires_grad_()
    output = layer(text[None])[0]
    for t in range(len(text)):
        [gradient] = torch.autograd.grad(output[t].sum(), text, retain_graph=True)
        assert not gradient[t + 1 :].any()
        start = max(0, (t - options["segment_shift"]) // LENGTH * LENGTH + options["segment_shift"])
        assert gradient[start : t + 1].abs().sum(1).all()


@pytest.mark.parametrize("options", [DEFAULT, LITERAL], ids=name_of)
def test_every_token_hears_of_every_other(options: dict[str, Any]) -> None:
    """Bidirectional far context arrives: a token in the last segment depends on the first segment, and the reverse."""
    layer = random_layer(**options)
    [text] = documents([5 * LENGTH])
    text.requires_grad_()
    output = layer(text[None])[0]
    for here, there in ((0, slice(4 * LENGTH, None)), (5 * LENGTH - 1, slice(0, LENGTH))):
        [gradient] = torch.autograd.grad(output[here].sum(), text, retain_graph=True)
        assert gradient[there].any()


@pytest.mark.parametrize("options", some_options()[::2], ids=name_of)
def test_a_document_does_not_depend_on_its_batch(options: dict[str, Any]) -> None:
    """Contract 5: alone, beside others, in another order, after other calls: the same."""
    layer = random_layer(**options)
    texts = documents([4, 17, 6, 29])
    alone = [layer(text[None])[0] for text in texts]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 2, 1]):
        hidden, mask = batch_of([texts[i] for i in order], 31)
        output = layer(hidden, mask)
        for row, i in enumerate(order):
            torch.testing.assert_close(output[row][mask[row]], alone[i], rtol=0, atol=1e-12)


def plain_attention(layer: SMIAttention, hidden: Tensor) -> Tensor:
    """Ordinary multi-head attention with the layer's projections."""
    q, k, v = (p(hidden).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in (layer.q_proj, layer.k_proj, layer.v_proj))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=layer.causal)
    return layer.o_proj(out.transpose(1, 2).flatten(-2))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("tokens", [1, LENGTH - 1, LENGTH])
@pytest.mark.parametrize("read", ["attend", "none"])
def test_a_short_document_gets_plain_attention_at_its_cost(causal: bool, tokens: int, read: str) -> None:
    """Contract 6: for N <= L the layer is ordinary attention, and counts as many operations."""
    layer = random_layer(**{**DEFAULT, "causal": causal, "rotary": False, "state_read": read})
    hidden = torch.randn(3, tokens, HIDDEN, dtype=torch.float64)
    torch.testing.assert_close(layer(hidden), plain_attention(layer, hidden), rtol=0, atol=1e-12)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as ours:
            layer(hidden)
        with FlopCounterMode(display=False) as plain:
            plain_attention(layer, hidden)
    assert ours.get_total_flops() == plain.get_total_flops() > 0


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("tied", "turned", "states"), [(True, 0.5, 4), (False, 0.5, 3), (False, 1.0, 4)])
def test_counted_cost_grows_as_stated(causal: bool, tied: bool, turned: float, states: int) -> None:
    """Contract 7: projections 8NE², keys 4NE·K with K = 2L or 3L plus S, and states 4SE²; (4 - 2p)SE² if not tied."""
    options = {"causal": causal, "tie_state_projections": tied, "partial_rotary_factor": turned}
    layer = SMIAttention(HIDDEN, HEADS, LENGTH, neighbours=1, **options)
    for segments in (2, 8, 32, 128):
        tokens = segments * LENGTH
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
            layer(torch.randn(1, tokens, HIDDEN))
        keys = (2 if causal else 3) * LENGTH + segments
        stated = 8 * tokens * HIDDEN**2 + 4 * tokens * HIDDEN * keys + states * segments * HIDDEN**2
        assert counted.get_total_flops() == stated


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("options", some_options()[::3], ids=name_of)
def test_large_inputs_stay_finite(dtype: torch.dtype, options: dict[str, Any]) -> None:
    """Contract 8: scores in the hundreds, long documents and empty ones give no NaN, forward or backward."""
    layer = random_layer(dtype, **options)
    for tokens in (1, LENGTH, 40 * LENGTH + 1):
        hidden = (torch.randn(2, tokens, HIDDEN) * 8).to(dtype).requires_grad_()
        mask = torch.ones(2, tokens, dtype=torch.bool)
        mask[1] = False
        output = layer(hidden, mask)
        assert output.isfinite().all()
        output.float().mean().backward()
        assert hidden.grad is not None
        assert hidden.grad.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())
