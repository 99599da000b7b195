"""The cover of the rest of a document, and the two ways to lay out a pyramid."""

from __future__ import annotations

import pytest
import torch

from simmim.ops.layout import SegmentLayout
from simmim.ops.pyramid import StatePyramid, pair_up, pyramid_height
from simmim.ops.reference import state_cover

LENGTHS = (1, 6, 7, 12, 27, 0, 61)


def leaves_of(layout: SegmentLayout, pyramid: StatePyramid) -> list[set[int]]:
    """Return for every node the rows of the segments below it."""
    leaves: list[set[int]] = [{row} for row in range(layout.segments)]
    below = leaves
    for pair in pyramid.pairings:
        both = zip(pair.left.tolist(), pair.right.tolist(), strict=True)
        below = [below[left] | below[right] for left, right in both]
        leaves = leaves + below
    return leaves


@pytest.mark.parametrize("causal", [False, True])
def test_the_cover_is_the_rest_of_the_document_and_nothing_twice(causal: bool) -> None:
    layout = SegmentLayout.packed(torch.tensor(LENGTHS), 6)
    pyramid = StatePyramid.of(layout)
    leaves = leaves_of(layout, pyramid)
    nodes, exists = pyramid.cover(layout, causal)
    assert nodes.shape[1] == 4, "eleven segments: 2^3 < 11 <= 2^4"
    for row in range(layout.segments):
        document, rank = int(layout.document[row]), int(layout.rank[row])
        first, count = int(layout.first[document]), int(layout.counts[document])
        covered = [leaves[node] for node in nodes[row][exists[row]].tolist()]
        rest = {first + j for j in range(count) if (j < rank if causal else j != rank)}
        assert sum(map(len, covered)) == len(rest)
        assert set().union(*covered) == rest
        # As few spans as the reference's recursive search finds.
        wanted = [j for j in range(count) if (j < rank if causal else j != rank)]
        assert len(covered) == len(state_cover(wanted, count))


def test_the_prefix_is_the_binary_form_of_its_length() -> None:
    layout = SegmentLayout.packed(torch.tensor(LENGTHS), 6)
    pyramid = StatePyramid.of(layout)
    leaves = leaves_of(layout, pyramid)
    for number in range(12):
        numbers = torch.minimum(layout.counts, torch.tensor(number))
        nodes, exists = pyramid.prefix(numbers)
        for document in range(len(LENGTHS)):
            covered = [leaves[node] for node in nodes[document][exists[document]].tolist()]
            first, count = int(layout.first[document]), int(numbers[document])
            assert set().union(*covered) == set(range(first, first + count))
            assert len(covered) == count.bit_count()


def test_pairs_in_fixed_rows_are_the_same_pairs() -> None:
    counts = torch.tensor([1, 5, 0, 4, 2])
    ragged, fixed = pair_up(counts), pair_up(counts, 5)
    assert fixed.rows == 3
    assert fixed.counts.tolist() == ragged.counts.tolist() == [1, 3, 0, 2, 1]
    first = counts.cumsum(0) - counts
    held = [d * 3 + n for d, above in enumerate(ragged.counts.tolist()) for n in range(above)]
    document = torch.arange(5).repeat_interleave(ragged.counts)
    for name in ("left", "right"):
        theirs = getattr(fixed, name)[held] - document * 5
        assert (getattr(ragged, name) - first[document]).tolist() == theirs.tolist()
    assert ragged.paired.tolist() == fixed.paired[held].tolist()


class Height(torch.nn.Module):
    """Adds the height of a pyramid over some nodes to their sum."""

    def forward(self, nodes: torch.Tensor) -> torch.Tensor:
        return nodes.sum() + pyramid_height(nodes.shape[0])


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(("most", "height"), [(256, 8), (None, 16)])
def test_a_program_for_any_length_has_the_levels_of_the_longest(most: int | None, height: int) -> None:
    shapes = ({0: torch.export.Dim("nodes", max=most)},)
    program = torch.export.export(Height(), (torch.ones(5),), dynamic_shapes=shapes)
    assert program.module()(torch.ones(3)) == 3 + height
