"""Leads take the words they say, and the best of them is found."""

import pytest
from datasets import Dataset

from simmim.tasks.summarization.lead import Lead, best_lead, budgets, lead_scores

WORDS = [f"word{number}x" for number in range(400)]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("One river.  Two boats.", "One river."),
        ("A tool for maps, e.g. of rivers, by J. Smith. It folds.", "A tool for maps, e.g. of rivers, by J."),
        ("Fast!\nReally fast.", "Fast!"),
        ("Version 2.1 of a\nlibrary\n\nSecond paragraph.", "Version 2.1 of a library"),
        ("Ends here. 3 more follow.", "Ends here."),
        ("Ends here.", "Ends here."),
        ("no mark at all", "no mark at all"),
        ("", ""),
    ],
)
def test_finds_the_first_sentence(document: str, sentence: str) -> None:
    assert Lead(None, sentence=True)(document) == sentence


def test_a_lead_says_what_it_takes() -> None:
    document = "One river flows. Two boats float on it."
    leads = {Lead(4, sentence=False): "One river flows. Two", Lead(2, sentence=True): "One river"}
    leads |= {Lead(4, sentence=True): "One river flows.", Lead(None, sentence=True): "One river flows."}

    assert {one: one(document) for one in leads} == leads
    assert [str(one) for one in leads] == [
        "first 4 words",
        "first 2 words of the first sentence",
        "first 4 words of the first sentence",
        "first sentence",
    ]


@pytest.mark.parametrize(
    "expected",
    [Lead(4, sentence=False), Lead(12, sentence=False), Lead(None, sentence=True), Lead(7, sentence=True)],
    ids=str,
)
def test_finds_the_best_lead(expected: Lead) -> None:
    # Sentences of 3 and of 20 words, so that each candidate gives another text than the others.
    documents = []
    for start in range(0, 200, 40):
        short = " ".join(WORDS[start : start + 3])
        long = " ".join(WORDS[start + 3 : start + 23])
        documents += [f"{short}. A{long}.", f"A{long}. {short}."]
    validation = Dataset.from_dict({"document": documents, "summary": [expected(document) for document in documents]})

    scores = lead_scores(validation)

    assert best_lead(validation) == expected
    assert scores[expected] == 100
    assert len(scores) == 1 + 2 * len(budgets(validation["summary"]))
    assert sorted(scores.values())[-2] < 100


def test_tries_no_budget_beyond_the_longest_summary() -> None:
    assert budgets(["one two", " ".join(WORDS[:24])]) == [*range(4, 13), 16, 24]
    assert budgets(["one"]) == [4]
    assert budgets(["船" * 10]) == list(range(4, 11))
    assert max(budgets([" ".join(WORDS)])) == 256


def test_a_lead_of_chinese_counts_characters() -> None:
    assert Lead(3, sentence=False)("小船在河上。大桥很远") == "小船在"
    assert Lead(7, sentence=True)("小船在河上。大桥很远") == "小船在河上。"
