"""Tests that segments on several ranks give what one process gives: outputs, losses and every gradient."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import parallelize_module
from torch.nn.parallel import DistributedDataParallel

import ranks as rank_pool
from simmim import SimMIMForCausalLM, SimMIMForConditionalGeneration, SimMIMModel
from simmim.models.modeling_base import SimMIMPreTrainedModel
from simmim.parallel import SegmentParallel, reduce_gradients
from support import LITERAL, small_config

CLOSE = 1e-12
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "shifted": {"segment_shift": 3},
    "pyramid": {"state_reach": "pyramid", "aggregator": "attention"},
    "pyramid-shifted": {"state_reach": "pyramid", "segment_shift": 5, "state_null": True, "neighbours": 0},
    "literal": {**LITERAL, "copy_head": None},
    "broadcast-shifted": {"state_read": "broadcast", "state_pooling": "last", "segment_shift": 4},
    "gated-pyramid": {
        **{"state_read": "gated_broadcast", "state_reach": "pyramid", "segment_shift": 4},
        **{"state_pooling": "attention", "training_length": 16},
    },
    "shared": {"state_weight": "shared", "tie_state_projections": False, "partial_rotary_factor": 1.0},
    "none": {"state_read": "none", "segment_shift": 4},
    "lstm": {"segment_encoder": "lstm", "segment_shift": 4},
    "cnn": {"segment_encoder": "cnn", "aggregator": "weighted_sum"},
}
BATCHES = {
    "even": (64,),
    "odd": (61, 20),
    "ragged": (20, 37, 7, 13, 0),
    "empty ranks": (9,),
    "one segment": (3, 8),
    "segments": (8, 8, 8),
}
KINDS = (SimMIMModel, SimMIMForCausalLM, SimMIMForConditionalGeneration)


@pytest.fixture(scope="module")
def pool() -> Iterator[rank_pool.Ranks]:
    started = rank_pool.start()
    yield started
    started.close()


def built(kind: type[SimMIMPreTrainedModel], options: dict[str, Any]) -> SimMIMPreTrainedModel:
    """Return a model of float64 whose weights make every token matter; the same one on every rank."""
    generator = torch.Generator().manual_seed(0)
    model = kind(small_config(num_hidden_layers=2, num_decoder_layers=1, **options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.double()


def batch_of(kind: type[SimMIMPreTrainedModel], lengths: Sequence[int]) -> dict[str, Any]:
    """Return documents of these lengths, with padding anywhere, and labels."""
    generator = torch.Generator().manual_seed(1)
    width = max(lengths) + 2
    ids = torch.randint(4, 50, (len(lengths), width), generator=generator)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, torch.randperm(width, generator=generator)[:length]] = 1
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if kind is SimMIMForCausalLM:
        batch["labels"] = ids.masked_fill(mask == 0, -100)
    elif kind is SimMIMForConditionalGeneration:
        batch["labels"] = torch.randint(4, 50, (len(lengths), 11), generator=generator).index_fill(
            1, torch.tensor([3, 10]), -100
        )
    return batch


def compare(mesh: DeviceMesh, name: str, options: dict[str, Any], lengths: Sequence[int], again: bool = False) -> float:
    """Return by how much this rank's outputs, the loss and the summed gradients differ from one process's."""
    kind = next(kind for kind in KINDS if kind.__name__ == name)
    one = built(kind, options)
    many, style = copy.deepcopy(one), SegmentParallel()
    parallelize_module(many, mesh, style)
    if again:
        many.activation_checkpointing_enable({"use_reentrant": False})
        many.train()
    batch = batch_of(kind, lengths)
    expected, found = run(one, batch, 1), run(many, batch, mesh.size())
    reduce_gradients(many, mesh)
    if kind is SimMIMModel:
        dist.all_reduce(found["loss"], group=mesh.get_group())
    mask = style.shares.mask
    differences = [(expected["loss"] - found["loss"]).abs() / (1 + expected["loss"].abs())]
    for key in ("tokens", "states"):
        if expected[key] is not None:
            wanted, shown = style.shares.take(expected[key]), found[key]
            differences.append(((wanted - shown) * mask[..., None]).abs().max())
    for key in ("pooled", "top"):
        if expected[key] is not None:
            differences.append((expected[key] - found[key]).abs().max())
    for (_, one_weight), (_, weight) in zip(one.named_parameters(), many.named_parameters(), strict=True):
        wanted = torch.zeros_like(one_weight) if one_weight.grad is None else one_weight.grad
        assert weight.grad is not None
        differences.append((wanted - weight.grad).abs().max() / (1 + wanted.abs().max()))
    return float(torch.stack(differences).detach().max())


def run(model: SimMIMPreTrainedModel, batch: dict[str, Any], size: int) -> dict[str, Tensor | None]:
    """Return the loss, which is differentiated, and what is compared."""
    if isinstance(model, SimMIMModel):
        output = model(**batch, output_hidden_states=True)
        whole = (output.pooler_output**2).sum() + (output.global_representation**3).sum()
        loss = (output.last_hidden_state**3).sum() + whole / size
        loss.backward()
        return {
            **{"loss": loss.detach(), "tokens": output.last_hidden_state, "states": output.hidden_states[1]},
            **{"pooled": output.pooler_output, "top": output.global_representation},
        }
    # Only so the loss is of float64; logits come from another call.
    loss = model(**batch, skip_logits=True).loss
    loss.backward()
    causal = isinstance(model, SimMIMForCausalLM)
    if causal:
        batch = {name: value for name, value in batch.items() if name != "labels"} | {"use_cache": False}
    logits = model(**batch).logits
    shown = {"tokens": logits, "pooled": None} if causal else {"tokens": None, "pooled": logits}
    return {"loss": loss.detach(), "states": None, "top": None} | shown


def cases() -> Iterator[Any]:
    """Every option with every model; the batches and two, three and four ranks take turns (the slow test has all)."""
    number = 0
    for name, options in OPTIONS.items():
        for kind in KINDS:
            if kind is SimMIMForCausalLM and "segment_encoder" in options:
                continue
            batch, ranks = list(BATCHES)[number % len(BATCHES)], 2 + (number + number // len(BATCHES)) % 3
            yield pytest.param(kind, options, BATCHES[batch], ranks, id=f"{kind.__name__}-{name}-{batch}-{ranks}")
            number += 1


@pytest.mark.parametrize(("kind", "options", "lengths", "ranks"), list(cases()))
def test_ranks_equal_one_process(
    pool: rank_pool.Ranks,
    kind: type[SimMIMPreTrainedModel],
    options: dict[str, Any],
    lengths: Sequence[int],
    ranks: int,
) -> None:
    found = pool.run(compare, kind.__name__, options, lengths, ranks=ranks)
    assert max(found) < CLOSE


def test_one_rank_equals_one_process(pool: rank_pool.Ranks) -> None:
    for kind in KINDS:
        assert max(pool.run(compare, kind.__name__, {"segment_shift": 3}, (20, 9), ranks=1)) < CLOSE


def test_layers_that_are_computed_again_exchange_again(pool: rank_pool.Ranks) -> None:
    found = pool.run(compare, "SimMIMForCausalLM", OPTIONS["pyramid-shifted"], (61, 20), True, ranks=3)
    assert max(found) < CLOSE


@pytest.mark.slow
@pytest.mark.contract
@settings(max_examples=8)
@given(
    kind=st.sampled_from(KINDS[:2]),
    reach=st.sampled_from(("all", "pyramid")),
    shift=st.integers(0, 7),
    neighbours=st.integers(0, 1),
    lengths=st.lists(st.integers(0, 70), min_size=1, max_size=4),
    ranks=st.integers(2, 4),
)
def test_any_shapes_equal_one_process(
    pool: rank_pool.Ranks, kind: Any, reach: str, shift: int, neighbours: int, lengths: list[int], ranks: int
) -> None:
    options = {"state_reach": reach, "segment_shift": shift, "neighbours": neighbours}
    found = pool.run(compare, kind.__name__, options, lengths, ranks=ranks)
    assert max(found) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_and_batch_equals_one_process(pool: rank_pool.Ranks, name: str, ranks: int) -> None:
    for kind in KINDS:
        if kind is not SimMIMForCausalLM or "segment_encoder" not in OPTIONS[name]:
            for lengths in BATCHES.values():
                assert max(pool.run(compare, kind.__name__, OPTIONS[name], lengths, ranks=ranks)) < CLOSE


def sharded_both_ways(mesh: DeviceMesh, wrapped: str) -> float:
    """Return how far gradients of two documents on a mesh of 2 x 2 are from one process's: FSDP2 or DDP, and segments.

    Both average over all four ranks; each loss is a part of the whole one, so it is multiplied by four.
    """
    both = rank_pool.two_dimensions(2, 2)
    one = built(SimMIMForCausalLM, {"state_reach": "pyramid", "segment_shift": 3})
    many, style = copy.deepcopy(one), SegmentParallel()
    parallelize_module(many, both["segments"], style)
    batch = batch_of(SimMIMForCausalLM, (41, 30))
    count = int((batch["labels"][:, 1:] != -100).sum())
    model: Any = many
    if wrapped == "fsdp":
        everything = both._flatten("everything")
        for layer in many.decoder.layers:
            fully_shard(layer, mesh=everything)
        fully_shard(many, mesh=everything)
    else:
        model = DistributedDataParallel(many, find_unused_parameters=True)
    row = slice(both.get_local_rank("data"), both.get_local_rank("data") + 1)
    mine = {name: value[row] for name, value in batch.items()}
    part = model(**mine, num_items_in_batch=count, skip_logits=True).loss
    (4 * part).backward()
    loss = one(**batch, num_items_in_batch=count, skip_logits=True).loss
    loss.backward()
    differences = []
    for (_, expected), (_, weight) in zip(one.named_parameters(), many.named_parameters(), strict=True):
        assert expected.grad is not None
        found = weight.grad.full_tensor() if isinstance(weight.grad, DTensor) else weight.grad
        assert found is not None
        differences.append((found - expected.grad).abs().max())
    return float(torch.stack(differences).max())


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.parametrize("wrapped", ["fsdp", "ddp"])
def test_segments_and_data_parallel_together_equal_one_process(pool: rank_pool.Ranks, wrapped: str) -> None:
    assert max(pool.run(sharded_both_ways, wrapped)) < CLOSE
