"""The pyramid equals pairwise merging of one document at a time, in every level and gradient, whatever its layout."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from simmim import ShapeError
from simmim.nn import AGGREGATORS, HierarchicalEncoder, Pyramid, tokenwise
from simmim.ops import reference
from simmim.ops.layout import SegmentLayout
from support import HIDDEN, LENGTH, documents

LENGTHS = (1, LENGTH - 1, LENGTH, LENGTH + 1, 3 * LENGTH, 5 * LENGTH - 2, 8 * LENGTH, 0, 11 * LENGTH + 1)
EVERY = pytest.mark.parametrize("aggregator", sorted(AGGREGATORS))


def random_encoder(aggregator: str) -> HierarchicalEncoder:
    encoder = HierarchicalEncoder(HIDDEN, aggregator).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)) * 0.5)
    return encoder


def segments_of(texts: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    layout = SegmentLayout.packed(torch.tensor([len(text) for text in texts]), LENGTH)
    segments = layout.to_segments(torch.cat(texts)[None])
    # What stands in an empty slot must not matter.
    return segments.masked_fill(~layout.mask[..., None], float("nan")), layout.mask, layout.counts


def static_of(texts: list[Tensor], rows: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Give every document the same number of segments; those after its last are NaN and masked, as its other slots."""
    segments, mask, counts = segments_of(texts)
    place = torch.cat([row * rows + torch.arange(count) for row, count in enumerate(counts.tolist())])
    empty = torch.full((len(texts) * rows, *segments.shape[1:]), float("nan"), dtype=segments.dtype)
    held = torch.zeros(len(empty), mask.shape[1], dtype=torch.bool)
    return empty.index_copy(0, place, segments), held.index_copy(0, place, mask), counts, rows


def objective(pyramid: Pyramid) -> Tensor:
    """Weigh everything that the pyramid gives, so that every gradient matters."""
    weight = torch.arange(1, pyramid.pooled.numel() + 1, dtype=torch.float64).view_as(pyramid.pooled).cos()
    return (pyramid.pooled * weight).sum() + (pyramid.global_representation * weight[:, None].sin()).sum()


@EVERY
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


@EVERY
def test_a_new_pyramid_starts_as_the_mean_of_its_children(aggregator: str) -> None:
    text = documents([4 * LENGTH])[0]
    pyramid = HierarchicalEncoder(HIDDEN, aggregator).double()(*segments_of([text]))
    torch.testing.assert_close(pyramid.global_representation[0], text.view(4, LENGTH, HIDDEN).mean(0))


@EVERY
@pytest.mark.parametrize("rows", [12, 13, 20], ids=lambda rows: f"{rows} rows")
def test_rows_of_equal_number_change_nothing(aggregator: str, rows: int) -> None:
    encoder = random_encoder(aggregator)
    texts = [text.requires_grad_() for text in documents(LENGTHS)]
    wanted = [*(text for text in texts if len(text)), *encoder.parameters()]
    ragged, static = encoder(*segments_of(texts)), encoder(*static_of(texts, rows))
    assert len(static.levels) == 1 + (rows - 1).bit_length()
    for height, level in enumerate(static.levels):
        assert level.rows is not None
        assert len(level.nodes) == len(texts) * level.rows
        other = ragged.levels[min(height, len(ragged.levels) - 1)]
        assert torch.equal(level.counts, other.counts)
        exists = (torch.arange(level.rows) < level.counts[:, None]).flatten()
        torch.testing.assert_close(level.nodes[exists], other.nodes, rtol=0, atol=1e-12)
        assert torch.equal(level.mask[exists], other.mask)
        assert not level.nodes[~exists].any()
        assert not level.mask[~exists].any()
    for name in ("global_representation", "global_mask", "pooled"):
        torch.testing.assert_close(getattr(static, name), getattr(ragged, name), rtol=0, atol=1e-12)
    ours = torch.autograd.grad(objective(static), wanted)
    for one, other in zip(ours, torch.autograd.grad(objective(ragged), wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@EVERY
@pytest.mark.parametrize("rows", [None, 0, 2])
def test_documents_without_tokens_give_zeros(aggregator: str, rows: int | None) -> None:
    size = 2 * (rows or 0)
    empty = torch.full((size, LENGTH, HIDDEN), float("nan"), dtype=torch.float64)
    pyramid = random_encoder(aggregator)(
        empty, torch.zeros(size, LENGTH, dtype=torch.bool), torch.zeros(2).long(), rows
    )
    assert torch.equal(pyramid.global_representation, torch.zeros(2, LENGTH, HIDDEN, dtype=torch.float64))
    assert torch.equal(pyramid.pooled, torch.zeros(2, HIDDEN, dtype=torch.float64))
    assert not pyramid.global_mask.any()


@EVERY
def test_without_gradients_the_parts_of_a_level_make_the_whole(
    aggregator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, segments = random_encoder(aggregator), segments_of(documents(LENGTHS))
    whole = encoder(*segments)
    sizes: list[int] = []
    encoder.aggregator.register_forward_pre_hook(lambda _, nodes: sizes.append(len(nodes[0])))
    monkeypatch.setattr(tokenwise, "LIMIT", 4 * 3 * LENGTH * HIDDEN)
    with torch.no_grad():
        parts = encoder(*segments)
    assert max(sizes) == 3, "three pairs at a time"
    torch.testing.assert_close(parts.global_representation, whole.global_representation, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("unchecked_shapes")
def test_rows_that_do_not_make_the_segments_are_refused() -> None:
    segments, mask, counts = torch.zeros(5, 4, HIDDEN), torch.ones(5, 4, dtype=torch.bool), torch.tensor([2, 3])
    with pytest.raises(ShapeError, match=r"S = 6 \(2 documents of 3 rows\), got \[5, 4, 8\] and \[5, 4\]"):
        HierarchicalEncoder(HIDDEN)(segments, mask, counts, rows=3)


COMPILED = """
import sys
import torch
from simmim.nn import HierarchicalEncoder

torch.manual_seed(0)
for aggregator in sys.argv[1:]:
    encoder = HierarchicalEncoder(8, aggregator)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    compiled = torch.compile(encoder, fullgraph=True, backend="eager")
    for counts in ([5, 1, 0, 2], [3, 4, 5, 0]):
        mask = (torch.arange(5) < torch.tensor(counts)[:, None]).flatten()[:, None].repeat(1, 4)
        segments = torch.randn(20, 4, 8).masked_fill(~mask[..., None], float("nan")).requires_grad_()
        ours, theirs = (build(segments, mask, torch.tensor(counts), 5) for build in (compiled, encoder))
        for one, other in zip(ours.levels, theirs.levels, strict=True):
            torch.testing.assert_close(one.nodes, other.nodes)
        gradients = (torch.autograd.grad(out.pooled.sum(), [segments, *encoder.parameters()]) for out in (ours, theirs))
        torch.testing.assert_close(*gradients)
    print(aggregator, torch._dynamo.utils.counters["stats"].pop("unique_graphs"))
"""
"""Compares compiled pyramids with plain ones and prints how many graphs each took; no hook checks the shapes there."""


@pytest.mark.slow
@pytest.mark.contract
def test_with_rows_a_pyramid_compiles_into_one_graph_whatever_the_counts() -> None:
    names = sorted(AGGREGATORS)
    command = [sys.executable, "-c", COMPILED, *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} 1" for name in names]
