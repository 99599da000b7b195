"""TextRank picks central sentences, keeps to its budget and its bounds, and gets the budget that suits."""

import math
from collections import Counter

import pytest
from datasets import Dataset

from simmim.tasks.summarization import extractive
from simmim.tasks.summarization.extractive import TextRank, best_textrank, ranked_sentences, textrank_scores

CENTRAL = "Boats on the river carry stone and grain."
DOCUMENT = (
    "Weather was mild. The river is wide and slow. Many boats carry grain to market. Stone is cut near the river.\n"
    f"{CENTRAL} Someone whistled once."
)


def test_the_sentence_that_is_like_the_others_comes_first() -> None:
    ranked = ranked_sentences(DOCUMENT)
    assert ranked[0] == (4, CENTRAL)
    assert sorted(place for place, _ in ranked) == list(range(6))
    assert {ranked[-1][1], ranked[-2][1]} == {"Weather was mild.", "Someone whistled once."}


def test_a_budget_is_spent_on_the_best_and_shown_in_the_order_of_the_document() -> None:
    best, second = (text for _, text in ranked_sentences(DOCUMENT)[:2])
    assert TextRank(3)(DOCUMENT) == "Boats on the"
    taken = TextRank(10)(DOCUMENT)
    assert taken.split("\n") == [" ".join(second.split()[:2]), best]
    assert TextRank(500)(DOCUMENT).split() == DOCUMENT.split()
    assert TextRank(5)(" \n ") == TextRank(5)("?!") == ""
    assert str(TextRank(5)) == "TextRank, 5 words"


def test_stems_and_stop_words_are_english_only() -> None:
    document = "Les bateaux de la ville. Les ponts de la ville. Un chat."
    assert ranked_sentences(document, "unicode")[-1] == (2, "Un chat.")
    assert TextRank(4, "unicode")("小船在河上。大河里有小船。猫。") in ("小船在河", "大河里有")


def test_a_long_document_is_bounded() -> None:
    document = " ".join(f"Sentence {place} speaks of boats." for place in range(500))
    assert len(ranked_sentences(document)) == extractive.MOST_SENTENCES
    ranked = ranked_sentences("word " * 5000 + ". Another one.")
    assert extractive._compared("word " * 5000, "unicode").total() == extractive.MOST_WORDS
    assert [place for place, _ in ranked] == [0, 1]
    assert len(ranked[0][1].split()) == 5001  # compared by its beginning, but kept whole


@pytest.mark.parametrize("budget", [4, 8])
def test_the_budget_is_chosen_on_validation(budget: int) -> None:
    documents = [DOCUMENT, DOCUMENT.replace("river", "sea")]
    longest = " ".join(DOCUMENT.split()[:12])
    summaries = [TextRank(budget)(document) for document in documents]
    rows = {"document": [*documents, longest], "summary": [*summaries, longest]}
    scores, best = textrank_scores(Dataset.from_dict(rows)), best_textrank(Dataset.from_dict(rows))
    assert best.words in (budget, 12)
    assert best_textrank(Dataset.from_dict({"document": documents, "summary": summaries})) == TextRank(budget)
    assert list(scores) == [TextRank(words) for words in range(4, 13)]
    assert scores[best] == max(scores.values())


def test_likeness_is_that_of_the_paper() -> None:
    """Two words of three and two are the same: 2 / (log 3 + log 2); sentences of one word each have no logarithm."""
    one, other = (
        extractive._compared("Boats carried the stone.", "english"),
        extractive._compared("boat stones", "english"),
    )
    assert one == {"boat": 1, "carri": 1, "stone": 1}
    assert extractive._likeness(one, other) == pytest.approx(2 / math.log(6))
    assert extractive._likeness(Counter(["a"]), Counter(["a"])) == 1
    assert extractive._likeness(one, Counter()) == 0
