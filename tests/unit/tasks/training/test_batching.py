"""Tests that batches keep to their limit, hold everything once, and depend on seed and epoch alone."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simmim.errors import ConfigError
from simmim.tasks.training.batching import LengthBatches

LENGTHS = random.Random(0).choices(range(1, 301), k=500)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.integers(1, 150), st.integers(0, 3))
def test_every_example_comes_once_and_no_batch_exceeds_the_budget(lengths, budget, epoch):
    sampler = LengthBatches(lengths, seed=0, max_tokens=budget)
    batches = sampler.batches(epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    for batch in batches:
        padded = len(batch) * max(lengths[row] for row in batch)
        assert padded <= budget or len(batch) == 1


def test_without_a_budget_batches_hold_so_many_examples():
    sampler = LengthBatches(LENGTHS, seed=0, max_examples=8)
    sizes = sorted(len(batch) for batch in sampler)
    assert sizes == [4] + [8] * 62


def test_a_batch_is_nearly_full_and_hardly_padded():
    batches = LengthBatches(LENGTHS, seed=0, max_tokens=3000).batches(0)
    padded = sum(len(batch) * max(LENGTHS[row] for row in batch) for batch in batches)
    assert sum(LENGTHS) > 0.9 * padded
    assert len(batches) <= 1.2 * sum(LENGTHS) / 3000 + 1


def test_the_order_is_that_of_the_seed_and_the_epoch():
    sampler, same, other = (LengthBatches(LENGTHS, seed=seed, max_tokens=900) for seed in (0, 0, 1))
    assert sampler.batches(2) == same.batches(2)
    assert sampler.batches(2) != other.batches(2)
    mixed = {frozenset(batch) for batch in sampler.batches(0)} & {frozenset(batch) for batch in sampler.batches(1)}
    assert len(mixed) < len(sampler) / 4
    sampler.set_epoch(2)
    assert list(sampler) == same.batches(2)


def test_batches_come_in_random_order():
    longest = [max(LENGTHS[row] for row in batch) for batch in LengthBatches(LENGTHS, seed=0, max_tokens=900)]
    rises = sum(left <= right for left, right in itertools.pairwise(longest))
    assert 0.3 < rises / len(longest) < 0.7


def test_longer_documents_are_counted_and_said(caplog):
    sampler = LengthBatches([5, 90, 70, 6], seed=0, max_tokens=64)
    assert "batching.max_tokens=64: 2 of 4 documents are longer, up to 90 tokens; each gets a batch" in caplog.text
    assert sorted(sorted(batch) for batch in sampler) == [[0, 3], [1], [2]]


@pytest.mark.parametrize("limits", [{}, {"max_tokens": 8, "max_examples": 2}])
def test_there_is_one_limit(limits):
    with pytest.raises(ConfigError, match="max_tokens, max_examples: expected exactly one of them"):
        LengthBatches([1], seed=0, **limits)
