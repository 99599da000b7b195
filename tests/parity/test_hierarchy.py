"""The pyramid equals pairwise merging of one document at a time, in every level and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simmim.nn import AGGREGATORS, HierarchicalEncoder
from simmim.ops import reference
from simmim.ops.segments import SegmentLayout
from support import HIDDEN, LENGTH, documents

LENGTHS = (1, LENGTH, LENGTH + 1, 3 * LENGTH, 5 * LENGTH - 2, 8 * LENGTH, 0, 11 * LENGTH + 1)


def random_encoder(aggregator: str) -> HierarchicalEncoder:
    encoder = HierarchicalEncoder(HIDDEN, aggregator).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    return encoder


def segments_of(texts: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    layout = SegmentLayout.packed(torch.tensor([len(text) for text in texts]), LENGTH)
    segments = layout.to_segments(torch.cat(texts)[None])
    # What stands in an empty slot must not matter.
    return segments.masked_fill(~layout.mask[..., None], float("nan")), layout.mask, layout.counts


@pytest.mark.parametrize("aggregator", sorted(AGGREGATORS))
def test_levels_and_gradients_equal_the_reference(aggregator: str) -> None:
    encoder = random_encoder(aggregator)
    texts = [text.requires_grad_() for text in documents(LENGTHS)]
    pyramid = encoder(*segments_of(texts))
    weights = dict(encoder.named_parameters())
    tops = []
    for row, text in enumerate(texts):
        if not len(text):
            assert not pyramid.global_representation[row].any()
            continue
        levels = reference.hierarchy(list(text.split(LENGTH)), weights, aggregator)
        for height, nodes in enumerate(levels):
            level = pyramid.levels[height]
            first = int(level.counts[:row].sum())
            assert int(level.counts[row]) == len(nodes)
            for offset, node in enumerate(nodes):
                ours = level.nodes[first + offset][level.mask[first + offset]]
                torch.testing.assert_close(ours, node, rtol=0, atol=1e-11)
        top = levels[-1][0]
        torch.testing.assert_close(pyramid.global_representation[row][: len(top)], top, rtol=0, atol=1e-11)
        torch.testing.assert_close(pyramid.pooled[row], top.mean(0), rtol=0, atol=1e-11)
        tops.append(top.mean(0))
    wanted = [*(text for text in texts if len(text)), *encoder.parameters()]
    direction = torch.randn(len(tops), HIDDEN, dtype=torch.float64)
    held = torch.tensor([len(text) > 0 for text in texts])
    ours = torch.autograd.grad((pyramid.pooled[held] * direction).sum(), wanted)
    theirs = torch.autograd.grad((torch.stack(tops) * direction).sum(), wanted)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 13])
def test_an_odd_node_out_is_carried_up_unchanged(count: int) -> None:
    encoder = random_encoder("concat")
    pyramid = encoder(*segments_of(documents([count * LENGTH])))
    for below, above in zip(pyramid.levels, pyramid.levels[1:], strict=False):
        if len(below.nodes) % 2:
            torch.testing.assert_close(above.nodes[-1], below.nodes[-1], rtol=0, atol=0)
        assert len(above.nodes) == (len(below.nodes) + 1) // 2
    assert len(pyramid.levels[-1].nodes) == 1


def test_a_new_pyramid_starts_as_the_mean_of_its_children() -> None:
    text = documents([4 * LENGTH])[0]
    pyramid = HierarchicalEncoder(HIDDEN, "concat").double()(*segments_of([text]))
    torch.testing.assert_close(pyramid.global_representation[0], text.view(4, LENGTH, HIDDEN).mean(0))
