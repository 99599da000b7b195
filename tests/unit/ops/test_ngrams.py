"""Continuations of n-grams are those that a search through the text finds, at once, step by step, packed and padded."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import Tensor

from simmim.ops import ngrams
from simmim.ops.ngrams import KEPT, LONGEST, NgramTable, find_continuations, step_continuations

TOKENS = 60


def by_hand(ids: list[int]) -> Tensor:
    """Search one document, token by token, with lists in the place of tables."""
    buckets: dict[tuple[int, int], list[tuple[tuple[int, ...], int]]] = defaultdict(list)
    rows = []
    for t, token in enumerate(ids):
        for gram in grams(ids[:t]):
            buckets[bucket_of(gram)].insert(0, (gram, token))
        row = torch.full((LONGEST, KEPT), -1)
        for gram in grams(ids[: t + 1]):
            for slot, (other, following) in enumerate(buckets[bucket_of(gram)][:KEPT]):
                if other == gram and following >= 0:
                    row[len(gram) - 1, slot] = following
        rows.append(row.flatten())
    return torch.stack(rows) if rows else torch.zeros(0, LONGEST * KEPT, dtype=torch.long)


def grams(ids: list[int]) -> list[tuple[int, ...]]:
    """Return the n-grams at the end of a text that are whole and hold no unknown token."""
    found = [tuple(ids[-n:]) for n in range(1, min(LONGEST, len(ids)) + 1)]
    return [gram for gram in found if min(gram) >= 0]


def bucket_of(gram: tuple[int, ...]) -> tuple[int, int]:
    newest_first = [*reversed(gram), *[-1] * (LONGEST - len(gram))]
    bucket, _ = ngrams._hashes(torch.tensor([newest_first]), torch.tensor([[True]]))
    return len(gram), int(bucket[0, len(gram) - 1])


@pytest.fixture(params=[1 << 14, 4], ids=["many-buckets", "few-buckets"])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Texts of few words, some of them unknown, with padding anywhere; few buckets are shared by many n-grams."""
    monkeypatch.setattr(ngrams, "BUCKETS", request.param)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 3, (4, TOKENS), generator=generator)
    ids[1, ::17] = -1
    real = torch.rand(4, TOKENS, generator=generator) < torch.tensor([2.0, 0.8, 0.5, 0.0])[:, None]
    return ids, real


def test_what_is_found_is_what_a_search_finds(batch: tuple[Tensor, Tensor]) -> None:
    ids, real = batch
    found = find_continuations(ids, real)
    assert found.shape == (4, TOKENS, LONGEST * KEPT)
    for row in range(4):
        assert torch.equal(found[row][real[row]], by_hand(ids[row][real[row]].tolist()))
    assert torch.equal(find_continuations(ids[:1]), found[:1])
    tried = (found[0] >= 0).any(0).view(LONGEST, KEPT)
    assert tried[:, 0].all(), "every length has been tried"
    assert tried[0].all(), "every slot has been tried"


@pytest.mark.parametrize("size", [1, 2, 7, TOKENS])
def test_parts_give_what_the_whole_gives(size: int, batch: tuple[Tensor, Tensor]) -> None:
    """Cut into parts of one size, the last of which may be one token; tables end alike, too."""
    ids, real = batch
    whole, table = NgramTable.empty(4), NgramTable.empty(4)
    expected = find_continuations(ids, real, table=whole)
    assert torch.equal(expected[real], find_continuations(ids, real)[real])
    found = [find_continuations(ids[:, t : t + size], real[:, t : t + size], table=table) for t in range(0, 60, size)]
    assert torch.equal(torch.cat(found, 1)[real], expected[real])
    same_table(table, whole)


def test_steps_give_what_the_whole_gives(batch: tuple[Tensor, Tensor]) -> None:
    ids, real = batch
    whole, table, alone = (NgramTable.empty(rows) for rows in (4, 4, 1))
    expected = find_continuations(ids, real, table=whole)
    for t in range(TOKENS):
        found = step_continuations(ids[:, t], table, real[:, t])
        assert torch.equal(found[real[:, t]], expected[:, t][real[:, t]])
        assert torch.equal(step_continuations(ids[:1, t], alone), expected[:1, t])
    same_table(table, whole)


def same_table(table: NgramTable, other: NgramTable) -> None:
    """Compare all but the last bucket, into which goes what belongs nowhere."""
    assert np.array_equal(table.recent, other.recent)
    assert np.array_equal(table.rows[:, :, :-1], other.rows[:, :, :-1])


def test_packed_documents_do_not_hear_of_each_other(batch: tuple[Tensor, Tensor]) -> None:
    """In rows of several documents, with padding between and in them."""
    ids, real = batch
    begins = torch.zeros(4, TOKENS, dtype=torch.bool)
    for row, places in enumerate(((0, 1, 30), (0, 20), (10,), ())):
        held = real[row].nonzero()[:, 0]
        begins[row, held[[place for place in places if place < len(held)]]] = True
    begins[2, real[2].nonzero()[0, 0]] = True
    found = find_continuations(ids, real, begins)
    for row in range(4):
        held, starts = real[row], begins[row][real[row]].nonzero()[:, 0].tolist()
        borders = [*starts, int(held.sum())]
        texts = [ids[row][held][a:b].tolist() for a, b in itertools.pairwise(borders)]
        expected = torch.cat([by_hand(text) for text in texts]) if texts else by_hand([])
        assert torch.equal(found[row][held], expected)


def test_a_table_made_in_inference_mode_is_written_outside_of_it(batch: tuple[Tensor, Tensor]) -> None:
    ids, _ = batch
    with torch.inference_mode():
        table = NgramTable.empty(4)
        find_continuations(ids[:, :30], table=table)
    found = [find_continuations(ids[:, 30:50], table=table)]
    found += [step_continuations(ids[:, t], table)[:, None] for t in range(50, 60)]
    assert torch.equal(torch.cat(found, 1), find_continuations(ids)[:, 30:])
    table.select(torch.tensor([3, 3, 1]))
    assert table.rows.shape[0] == len(table.recent) == 3
