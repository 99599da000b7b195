"""`plan_blocks` and `attend` compute what the reference states, whatever the chunks, the blocks and the padding."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simmim.ops.reading_reference import distances, reading_attention
from simmim.reading import local_attention
from simmim.reading.local_attention import Window, attend, plan_blocks, tables_of

_FREQUENCIES = torch.tensor([1.0, 0.3, 0.05], dtype=torch.float64)
_HEADS, _GROUPS, _WIDTH = 4, 2, 8  # two channels are not rotated


class _Rotation:
    """A rotary embedding in float64; notes the largest position it was asked for."""

    largest = -1

    def tables(self, positions, like, layer_type):
        self.largest = max(self.largest, int(positions.max()))
        angles = positions[..., None].double() * torch.cat([_FREQUENCIES, _FREQUENCIES])
        return angles.cos(), angles.sin()

    def rotate(self, x, tables):
        cos, sin = (table[:, None] for table in tables)
        turned, rest = x[..., :6], x[..., 6:]
        half = torch.cat([-turned[..., 3:], turned[..., :3]], -1)
        return torch.cat([turned * cos + half * sin, rest], -1)


def _draw(batch: int, length: int) -> tuple[torch.Tensor, ...]:
    shapes = [(batch, _HEADS, length, _WIDTH)] + 2 * [(batch, _GROUPS, length, _WIDTH)]
    return tuple(torch.randn(shape, dtype=torch.float64) * 1.5 for shape in shapes)


def _read(q, k, v, chunks, first, window, valid=None, softcap=None, rotated=True):
    """Attend chunk by chunk, as a model does."""
    rotation: Any = _Rotation()
    rows, out, past = torch.arange(len(q))[:, None, None], [], 0
    for chunk in chunks:
        end = past + chunk
        plan = plan_blocks(past, chunk, first, window, None if valid is None else valid[:, :end])
        keys, values = (t[:, :, :end].transpose(1, 2)[rows, plan.keys].transpose(2, 3) for t in (k, v))
        tables = tables_of(plan, rotation, q, None) if rotated else None
        out.append(attend(q[:, :, past:end], keys, values, plan, rotation, tables, 0.4, softcap))
        if rotated:
            assert rotation.largest < min(end, window.span)
        past = end
    return torch.cat(out, 1)


@st.composite
def _cases(draw):
    segment = draw(st.integers(1, 9))
    window = Window(
        segment,
        draw(st.integers(0, 4)),
        draw(st.integers(0, 2)) * segment,
        draw(st.one_of(st.none(), st.integers(1, 20))),
    )
    chunks = draw(st.lists(st.one_of(st.just(1), st.integers(1, 30)), min_size=1, max_size=6))
    length = sum(chunks)
    padding = draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=3))
    return window, chunks, padding, draw(st.sampled_from([1, 2, 3, 4, 8, 16, 128])), draw(st.booleans())


@settings(max_examples=20)
@given(_cases(), st.sampled_from([None, 2.0]))
def test_equals_the_reference(case, softcap):
    window, chunks, padding, block, rotated = case
    torch.manual_seed(0)
    q, k, v = _draw(len(padding), sum(chunks))
    first = torch.tensor(padding)
    valid = torch.arange(sum(chunks)) >= first[:, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_attention, "_BLOCK", block)
        out = _read(q, k, v, chunks, first, window, valid if max(padding) else None, softcap, rotated)
    for row, begin in enumerate(padding):
        expected = reading_attention(
            *(t[row, :, begin:] for t in (q, k, v)),
            _FREQUENCIES if rotated else None,
            **{"segment": window.segment, "near": window.near, "sink": window.sink, "sliding": window.sliding},
            **{"block": block, "scale": 0.4, "softcap": softcap},
        )
        torch.testing.assert_close(out[row, begin:], expected, rtol=0, atol=1e-10)
    assert out.isfinite().all()


@pytest.mark.parametrize("block", [4, 8, 128])
def test_chunks_change_nothing(block, monkeypatch):
    monkeypatch.setattr(local_attention, "_BLOCK", block)
    q, k, v = _draw(1, 61)
    window, first = Window(4, 2, 4), torch.tensor([0])
    whole = _read(q, k, v, [61], first, window)
    for chunks in ([1] * 61, [7] * 8 + [5], [60, 1], [3, 58]):
        torch.testing.assert_close(_read(q, k, v, chunks, first, window), whole, rtol=0, atol=1e-10)


def test_full_attention_while_near_covers_the_document():
    q, k, v = _draw(1, 24)
    out = _read(q, k, v, [24], torch.tensor([0]), Window(4, 4, 8))
    every = dict.fromkeys(range(24))
    assert distances(23, segment=4, near=4, sink=8, block=128).keys() == every.keys()
    full = reading_attention(q[0], k[0], v[0], _FREQUENCIES, segment=24, near=0, sink=0, block=1, scale=0.4)
    torch.testing.assert_close(out[0], full, rtol=0, atol=1e-10)


def test_a_hole_in_the_mask_is_not_read():
    q, k, v = _draw(1, 20)
    valid = torch.ones(1, 20, dtype=torch.bool)
    valid[0, [3, 11, 12]] = False
    out = _read(q, k, v, [13, 7], torch.tensor([0]), Window(4, 8, 4), valid)
    k[..., ~valid[0], :], v[..., ~valid[0], :] = 7.0, 7.0
    again = _read(q, k, v, [13, 7], torch.tensor([0]), Window(4, 8, 4), valid)
    torch.testing.assert_close(out[:, valid[0]], again[:, valid[0]], rtol=0, atol=0)


@pytest.mark.parametrize(("past", "chunk"), [(10_000, 1), (10_000, 100), (10_000, 1024), (1_000_000, 1024)])
def test_cost_does_not_grow_with_the_document(past, chunk):
    window = Window(64, 8, 64)
    plan = plan_blocks(past, chunk, torch.tensor([0]), window)
    blocks, size, keys = plan.visible.shape[1:]
    assert keys <= window.span
    assert blocks * size <= chunk + 2 * 128
    assert plan.positions.amax() < window.span
    assert plan.positions[plan.visible.any(2)].amin() >= 0


def test_aligned_blocks_read_no_more_than_near_and_their_own():
    plan = plan_blocks(1024, 1024, torch.tensor([0]), Window(64, 8, 64))
    assert plan.keys.shape == (1, 8, 64 + 8 * 64 + 128)


def test_the_first_tokens_are_not_read_twice():
    assert plan_blocks(0, 128, torch.tensor([0]), Window(64, 8, 64)).keys.shape == (1, 1, 128)
