"""Tests that a rank sends what the formulas say, byte for byte, and nothing that grows with the tokens."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import parallelize_module

import ranks as rank_pool
from lab.scale.costs import exported_nodes, neighbour_tokens
from simmim import SimMIMForCausalLM, SimMIMModel
from simmim.parallel import SegmentParallel
from support import small_config

LENGTH, WIDTH = 8, 16


@pytest.fixture(scope="module")
def pool() -> Iterator[rank_pool.Ranks]:
    started = rank_pool.start()
    yield started
    started.close()


def bytes_sent(mesh: DeviceMesh, causal: bool, options: dict[str, Any], tokens: int) -> dict[str, int]:
    """Return what this rank sends in a training step of two layers on one document, in float64."""
    config = small_config(num_hidden_layers=2, **options)
    model: Any = SimMIMForCausalLM(config) if causal else SimMIMModel(config, add_pooling_layer=False)
    style = SegmentParallel()
    parallelize_module(model.double(), mesh, style)
    ids = torch.arange(tokens)[None] % 40 + 4
    if causal:
        model(input_ids=ids, labels=ids).loss.backward()
    else:
        model(input_ids=ids).last_hidden_state.sum().backward()
    return dict(style.sent)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("reach", "shift"), [("all", 0), ("pyramid", 0), ("all", 3), ("pyramid", 3)])
def test_bytes_are_those_of_the_formulas(pool: rank_pool.Ranks, causal: bool, reach: str, shift: int) -> None:
    segments, ranks = 20, 4
    options = {"state_reach": reach, "segment_shift": shift, "scale_embedding": False}
    found = pool.run(bytes_sent, causal, options, segments * LENGTH)
    borders = [segments * rank // ranks for rank in range(ranks + 1)]
    states, near = 0, [[0, 0] for _ in range(ranks)]
    for shifted in (False, bool(shift)):
        before, after = neighbour_tokens(LENGTH, 1, LENGTH - shift if shifted else 0, causal)
        for rank in range(ranks):
            to_next, to_last = rank < ranks - 1, rank > 0
            near[rank][0] += before * to_next + after * to_last
            near[rank][1] += before * to_last + after * to_next  # gradients go back
        here = [*borders[:-1], segments + 1] if shifted else borders
        asking = borders[1:-1] if shifted and not causal else []
        owned = [high - low for low, high in pairwise(here)]
        states += (ranks - 1) * max(owned if reach == "all" else exported_nodes(here, asking))
    for rank in range(ranks):
        assert found[rank].get("neighbours", 0) == near[rank][0] * WIDTH * 8
        assert found[rank].get("neighbours (backward)", 0) == near[rank][1] * WIDTH * 8
        assert found[rank]["states"] == found[rank]["states (backward)"] == states * WIDTH * 8


def test_nothing_grows_with_the_tokens_of_a_pyramid(pool: rank_pool.Ranks) -> None:
    options = {"state_reach": "pyramid"}
    short, long = (pool.run(bytes_sent, False, options, segments * LENGTH) for segments in (16, 64))
    assert short == long


def test_nodes_are_few() -> None:
    assert exported_nodes([0, 4, 8, 12, 16]) == [1, 1, 1, 1]
    assert max(exported_nodes([0, 333, 667, 1000])) <= 2 * 10
