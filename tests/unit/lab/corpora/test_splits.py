"""Splits share no group and no document, and nothing leaves them uncounted."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.corpora.splits import Pair, split_of, split_pairs
from simmim.data.corpora import SPLITS
from simmim.data.near_duplicates import normalise

# One group of each split: "p0", "p1", ... until each split has got one.
GROUP = {split: next(name for number in count() if split_of(name := f"p{number}") == split) for split in SPLITS}

PAIRS = st.lists(
    st.builds(
        Pair,
        document=st.sampled_from(["Tree 1", "tree 2", "TREE  3", "river", "river 10", "sea"]),
        summary=st.sampled_from(["a", "A", "b 1", "b 2"]),
        group=st.sampled_from([f"p{number}" for number in range(60)]),
        name=st.uuids().map(str),
    ),
    unique_by=lambda item: item.name,
)


def pair(split: str, document: str = "a river", summary: str = "water", name: str = "p") -> Pair:
    return Pair(document, summary, group=GROUP[split], name=name)


def test_folds_case_digits_and_white_space() -> None:
    assert normalise("  Version 2.13\n\nof\tWEISS  ") == "version 0.00 of weiss"
    assert normalise("tree") != normalise("trees")


def test_the_split_of_a_group_never_changes() -> None:
    # Published results rest on these values.
    splits = [split_of(group) for group in ("linux", "bash", "perl", "abcl", "nano")]

    assert splits == ["train", "train", "validation", "test", "test"]


def test_the_splits_have_their_shares() -> None:
    counts = Counter(split_of(f"package-{number}") for number in range(20_000))

    assert counts["train"] / 20_000 == pytest.approx(0.90, abs=0.01)
    assert counts["validation"] / 20_000 == pytest.approx(0.05, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.05, abs=0.01)


@given(PAIRS)
def test_splits_are_disjoint_and_every_pair_is_accounted_for(pairs: list[Pair]) -> None:
    dropped: Counter[str] = Counter()

    splits = split_pairs(pairs, dropped)

    assert set(splits) == set(SPLITS)
    assert sum(len(kept) for kept in splits.values()) + dropped.total() == len(pairs)
    owners: dict[tuple[str, str], set[str]] = {}
    for split, kept in splits.items():
        assert [item for item in pairs if item in kept] == kept  # the order in which they came
        texts = [(normalise(item.document), normalise(item.summary)) for item in kept]
        assert len(texts) == len(set(texts))
        for item in kept:
            assert split_of(item.group) == split
            owners.setdefault(("document", normalise(item.document)), set()).add(split)
            owners.setdefault(("group", item.group), set()).add(split)
    assert all(len(found) == 1 for found in owners.values())
    # A document that test could have had is in test.
    for item in pairs:
        if split_of(item.group) == "test" and "exact duplicate pair" not in dropped:
            assert owners["document", normalise(item.document)] == {"test"}


def test_counts_each_reason() -> None:
    dropped: Counter[str] = Counter()
    pairs = [
        pair("train", "River 1", name="stays out of test"),
        pair("train", "sea"),
        pair("train", "sea", name="exact"),
        pair("train", "SEA", "Water"),
        pair("train", "hill 1", "up"),
        pair("validation", "hill 2", "down"),
        pair("validation", "river 3", "flows"),
        pair("test", "river 2", "stays", name="in test"),
    ]

    splits = split_pairs(pairs, dropped)

    assert splits == {"train": [pairs[1]], "validation": [pairs[5]], "test": [pairs[7]]}
    assert dropped == {
        "exact duplicate pair": 1,
        "repeated pair within train, normalised": 1,
        "document of train occurs in test": 1,
        "document of train occurs in validation": 1,
        "document of validation occurs in test": 1,
    }


def test_a_document_may_have_two_summaries_within_a_split() -> None:
    dropped: Counter[str] = Counter()
    pairs = [pair("train", "a library", "library"), pair("train", "a library", "library - development files")]

    assert split_pairs(pairs, dropped)["train"] == pairs
    assert not dropped
