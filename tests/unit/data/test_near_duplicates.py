"""Near-duplicates across splits: found from a Jaccard similarity of 0.8 on, worked out by hand, and only then."""

from collections import Counter

import pytest

from lab.corpora.cleaning import fit_pairs, split_cleanly, without_summary
from simmim.data.near_duplicates import drop_near_duplicates, flag_near_duplicates, near_duplicates
from simmim.data.splits import Pair, split_of
from simmim.errors import DataError


def words(start: int, end: int) -> str:
    """Return different words; letters, as digits are all alike to the comparison."""
    return " ".join("w" + "".join(chr(ord("a") + int(digit)) for digit in str(n)) for n in range(start, end))


BASE = words(0, 1_004)  # 1,000 shingles


@pytest.mark.parametrize(
    ("other", "near"),
    [
        (BASE.upper(), True),
        (BASE.replace(" ", "\n  "), True),
        (BASE + " " + words(5_000, 5_100), True),  # 1,000 of 1,100 shingles
        (words(100, 1_114), True),  # 900 of 1,110: 0.81
        (words(200, 1_214), False),  # 800 of 1,210
        (BASE + " " + words(5_000, 5_300), False),  # 1,000 of 1,300: 0.77, which the sketches often propose
        (words(2_000, 3_000), False),
    ],
)
def test_compares_shingles(other: str, near: bool) -> None:
    assert list(near_duplicates([words(9_000, 9_050), BASE], [words(8_000, 8_050), other])) == (
        [(1, 1)] if near else []
    )


def test_short_and_long_documents_are_compared_whole() -> None:
    assert list(near_duplicates(["a b c"], ["A  B c", "a b d"])) == [(0, 0)]
    long = words(0, 20_000)
    changed = words(0, 10_000) + " " + words(30_000, 40_000)  # the first half is the same
    assert list(near_duplicates([long], [changed, long + " end"])) == [(0, 1)]


def test_the_earlier_split_loses_the_document() -> None:
    splits = {
        "train": [Pair(BASE + " a", "s", "g", "1"), Pair(words(2_000, 2_100), "s", "g", "2")],
        "validation": [Pair(BASE + " b", "s", "h", "3"), Pair(words(2_000, 2_100) + " c", "s", "h", "4")],
        "test": [Pair(BASE + " d", "s", "i", "5")],
    }
    dropped: Counter[str] = Counter()

    left = drop_near_duplicates(splits, dropped)

    assert {split: [pair.name for pair in pairs] for split, pairs in left.items()} == {
        "train": [],
        "validation": ["4"],
        "test": ["5"],
    }
    assert dropped == {
        "document of validation is nearly one of test": 1,
        "document of train is nearly one of test or validation": 2,
    }


def test_flags_what_an_evaluation_can_leave_out() -> None:
    documents = {"train": [BASE, "x"], "validation": ["y", BASE + " z"], "test": [words(0, 9), BASE + " q", "y"]}

    assert flag_near_duplicates(documents) == {"validation": [1], "test": [1, 2]}


def test_only_fit_pairs_pass() -> None:
    pairs = [
        Pair("one two three four five", "Sums up", "g", "good"),
        Pair("one two three four five", "Sum", "g", "short summary"),
        Pair("one two", "sums up", "g", "short document"),
        Pair("one two three", "five six seven", "g", "long summary"),
        Pair("it is said: TWO\n  2 five, really", "two 3 five,", "g", "copied"),
    ]
    pairs += [Pair("one two three", text, "g", "unreadable") for text in ("a \0", "a \ud800 b")]
    dropped: Counter[str] = Counter()

    assert [pair.name for pair in fit_pairs(pairs, dropped, summary_words=2, document_words=3)] == ["good"]
    assert dropped == {
        "NUL character or half a character": 2,
        "summary of under 2 words": 1,
        "document of under 3 words": 1,
        "summary as long as the document": 1,
        "summary occurs in the document": 1,
    }


def test_sentences_with_the_summary_go() -> None:
    document = "First. It can List  Directory contents, too. Last.\nlist directory contents\nlist directory"
    assert without_summary(document, "list directory contents") == "First. Last.\n\nlist directory"


def test_splits_are_without_near_duplicates_and_not_empty() -> None:
    groups = {split_of(f"g{n}"): f"g{n}" for n in range(200)}
    pairs = [Pair(words(n * 1_000, n * 1_000 + 90), "s", group, group) for n, group in enumerate(groups.values())]
    twin = Pair(pairs[list(groups).index("test")].document + " more", "s", groups["train"], "twin")
    dropped: Counter[str] = Counter()

    splits = split_cleanly([*pairs, twin], dropped)

    assert {split: [pair.name for pair in kept] for split, kept in splits.items()} == {
        k: [v] for k, v in groups.items()
    }
    assert dropped["document of train is nearly one of test or validation"] == 1
    with pytest.raises(DataError, match="expected documents in every split, found none for validation, test"):
        split_cleanly([twin], dropped)
