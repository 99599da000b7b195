"""Tokens go to segments and come back, whatever the padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simmim.errors import ConfigError
from simmim.ops.layout import SegmentLayout
from simmim.ops.options import segment_origin
from simmim.ops.pyramid import pair_up


@settings(max_examples=150)
@given(
    mask=st.lists(st.lists(st.booleans(), min_size=13, max_size=13), min_size=1, max_size=4),
    length=st.integers(1, 9),
    shift=st.integers(0, 8),
    causal=st.booleans(),
)
def test_tokens_come_back_and_padding_does_not(mask: list[list[bool]], length: int, shift: int, causal: bool) -> None:
    held = torch.tensor(mask)
    shift %= length
    layout = SegmentLayout.build(*held.shape, length, attention_mask=held, segment_shift=shift, causal=causal)
    tokens = torch.where(held, torch.arange(1.0, held.numel() + 1).view(held.shape), float("nan"))[..., None]
    segments = layout.to_segments(tokens)
    assert segments.shape[:2] == layout.mask.shape == (layout.segments, layout.segment_length)
    assert torch.equal(segments[..., 0] != 0, layout.mask), "empty slots are zero, and nothing else is"
    assert layout.mask.any(1).all(), "a segment of padding does not exist"
    assert torch.equal(layout.to_tokens(segments)[..., 0], torch.where(held, tokens[..., 0], 0.0))
    for document, row in enumerate(held):
        count = int(row.sum())
        mine = segments[layout.document == document]
        origin = int(layout.origin[document]) if count else 0
        assert torch.equal(mine.flatten()[origin : origin + count], tokens[document, row, 0]), (
            "in order, from the origin"
        )
        assert len(mine) == (-(-(count + origin) // layout.segment_length) if count else 0)
        assert torch.equal(layout.rank[layout.document == document], torch.arange(len(mine)))


def test_short_documents_take_no_more_slots_than_they_have_tokens() -> None:
    assert SegmentLayout.build(2, 5, 64).mask.shape == (2, 5)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    assert SegmentLayout.build(2, 5, 64, attention_mask=mask).mask.shape == (2, 3)


def test_a_short_bidirectional_document_is_not_shifted_and_a_causal_one_is() -> None:
    assert SegmentLayout.build(1, 6, 6, segment_shift=3).segments == 1
    assert SegmentLayout.build(1, 6, 6, segment_shift=3, causal=True).mask.sum(1).tolist() == [3, 3]
    assert SegmentLayout.build(1, 7, 6, segment_shift=3).mask.sum(1).tolist() == [3, 4]


def test_neighbours_and_readable_states_stay_in_their_document() -> None:
    layout = SegmentLayout.packed(torch.tensor([7, 0, 3, 9]), 3)
    assert layout.document.tolist() == [0, 0, 0, 2, 3, 3, 3]
    [(rows, exists)] = layout.neighbours([-1])
    assert rows[exists].tolist() == [0, 1, 4, 5]
    assert exists.tolist() == [False, True, True, False, False, True, True]
    assert layout.readable(causal=False).int().tolist() == [
        [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0],
    ]  # fmt: skip
    assert layout.readable(causal=True).sum(1).tolist() == [0, 1, 2, 0, 0, 1, 2]


@pytest.mark.parametrize(("length", "shift"), [(0, 0), (4, 4), (4, -1)])
def test_impossible_segments_are_refused(length: int, shift: int) -> None:
    with pytest.raises(ConfigError, match="expected"):
        segment_origin(length, shift)


def test_pairs_stay_in_their_document() -> None:
    pairs = pair_up(torch.tensor([3, 0, 1, 4]))
    assert pairs.counts.tolist() == [2, 0, 1, 2]
    assert pairs.left.tolist() == [0, 2, 3, 4, 6]
    assert pairs.right.tolist() == [1, 2, 3, 5, 7]
    assert pairs.paired.tolist() == [True, False, False, True, True]
