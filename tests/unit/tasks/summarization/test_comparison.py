"""Systems are compared on the same documents, as a whole and by length, and novelty is what the definition says."""

import pytest

from simmim.errors import DataError
from simmim.tasks.summarization.comparison import Examples, compare, length_buckets, novelty
from simmim.tasks.summarization.rouge import rouge

REFERENCES = ["a b c d"] * 40
EXAMPLES = Examples(
    documents=["a b c d e"] * 40,
    references=REFERENCES,
    tokens=[100] * 35 + [3000] * 5,
    groups=[str(row // 2) for row in range(40)],
)
SYSTEMS = {"ours": REFERENCES[:20] + ["a b x y"] * 20, "theirs": ["x y z"] * 40}


def test_borders_of_lengths_belong_to_the_longer_range() -> None:
    buckets = length_buckets([511, 512, 2047, 2048, 8191, 8192, 10**6])
    assert [bucket.rows for bucket in buckets] == [(0,), (1, 2), (3, 4), (5, 6)]
    assert [(bucket.least, bucket.below) for bucket in buckets] == [(0, 512), (512, 2048), (2048, 8192), (8192, None)]


def test_scores_and_differences_are_those_of_rouge() -> None:
    found = compare(SYSTEMS, EXAMPLES)
    assert found.scores["ours"] == rouge(SYSTEMS["ours"], REFERENCES, groups=EXAMPLES.groups)
    assert found.differences["theirs"].rouge1.mean == found.scores["ours"].rouge1.mean == 75
    assert list(found.differences) == ["theirs"]
    assert found.words == {"ours": 4, "theirs": 3, "reference": 4}


def test_a_bucket_is_scored_by_its_documents_and_their_groups() -> None:
    found = compare(SYSTEMS, EXAMPLES)
    short, middle, long, huge = found.buckets
    scores, differences = found.within(long)
    assert scores["ours"].rouge1.mean == differences["theirs"].rouge1.mean == 50
    groups = [EXAMPLES.groups[row] for row in short.rows]
    assert found.within(short)[0]["ours"] == rouge(SYSTEMS["ours"][:35], REFERENCES[:35], groups=groups)
    assert (short.few, long.few) == (False, True)
    assert found.within(middle) == found.within(huge) == ({}, {})


def test_the_record_holds_every_figure() -> None:
    record = compare(SYSTEMS, EXAMPLES).to_dict()
    assert record["rouge"]["ours"]["rouge1"]["mean"] == 75
    assert [row["documents"] for row in record["by_length"]] == [35, 0, 5, 0]
    assert record["by_length"][2]["differences"]["theirs"]["rouge1"] == {"mean": 50, "low": 50, "high": 50}
    assert record["by_length"][1]["rouge"] == {}
    assert record["word_rule"] == "english"
    assert record["novelty"] == {"ours": round(2 * 20 / (2 * 40), 4), "theirs": 1, "reference": 0}


def test_novelty_is_the_share_of_new_runs_of_three_words() -> None:
    texts = {
        "mixed": ["The river flows, fast", "x y z"],
        "short": ["one", "two words"],
        "repeated": ["a a a a a", "a b c"],
    }
    found = novelty(texts, ["THE river flows slow", "a b c"])
    # "the river flows" is in its document; "river flows fast" and "x y z" are not
    assert found == {"mixed": 2 / 3, "short": None, "repeated": 1 / 2}


def test_systems_are_refused_that_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="expected other names than 'reference'"):
        compare({"reference": REFERENCES}, EXAMPLES)
    with pytest.raises(DataError, match="got 1 and 40"):
        compare({"ours": ["a"]}, EXAMPLES)
