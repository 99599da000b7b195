"""ROUGE against values worked out by hand, and intervals against what statistics expects of them."""

import logging

import numpy as np
import pytest

from simmim.errors import DataError
from simmim.tasks.summarization.rouge import METRICS, Rouge, estimate, mean_rouge_l, paired_difference, rouge, word_rule

# With reference "a" a prediction "a" scores 100 and "b" scores 0 (rouge1, rougeL, rougeLsum).
RANDOM = np.random.default_rng(7)
COIN = ["a" if side else "b" for side in RANDOM.random(400) < 0.3]
OTHER_COIN = ["a" if side else "b" for side in RANDOM.random(400) < 0.5]
REFERENCES = ["a"] * 400


def means(scores: Rouge) -> list[float]:
    return [getattr(scores, metric).mean for metric in METRICS]


def test_scores_what_the_definitions_say() -> None:
    scores = rouge(["The cat on the mat!"], ["the cat sat on the mat"])

    # words: 5 of 5 and of 6; pairs: 3 of 4 and of 5; the common subsequence is the whole prediction
    assert means(scores) == pytest.approx([100 * 10 / 11, 100 * 2 / 3, 100 * 10 / 11, 100 * 10 / 11])


def test_lines_are_sentences_for_rouge_lsum_alone() -> None:
    scores = rouge(["gold tin\niron lead"], ["iron lead\ngold tin"])

    # all words; 2 of 3 pairs, as "tin iron" is none of "lead gold"; a common subsequence of 2 in 4; line by line all
    assert means(scores) == pytest.approx([100, 200 / 3, 50, 100])


def test_words_are_stemmed() -> None:
    assert rouge(["libraries"], ["library"]).rouge1.mean == 100


def test_averages_over_documents_and_keeps_their_scores() -> None:
    scores = rouge(["a b", "c d", ""], ["a b", "x y", "z"])

    assert scores.scores.tolist() == [[100.0] * 4, [0.0] * 4, [0.0] * 4]
    assert means(scores) == pytest.approx([100 / 3] * 4)


def test_the_interval_is_the_one_of_the_normal_law() -> None:
    estimate = rouge(COIN, REFERENCES).rouge1

    share = COIN.count("a") / 400
    margin = 196 * (share * (1 - share) / 400) ** 0.5
    assert estimate.mean == pytest.approx(100 * share)
    assert estimate.low == pytest.approx(100 * share - margin, abs=0.1 * margin)
    assert estimate.high == pytest.approx(100 * share + margin, abs=0.1 * margin)


def test_no_spread_no_interval() -> None:
    estimate = rouge(["a"] * 5, ["a"] * 5).rouge1

    assert (estimate.mean, estimate.low, estimate.high) == (100, 100, 100)


def test_the_interval_is_the_same_each_time() -> None:
    assert rouge(COIN, REFERENCES) == rouge(COIN, REFERENCES)


def test_copies_within_a_group_do_not_narrow_the_interval() -> None:
    copies = 4
    groups = [str(number // copies) for number in range(400 * copies)]
    repeated = [side for side in COIN for _ in range(copies)]
    single = rouge(COIN, REFERENCES, groups=[str(number) for number in range(400)]).rouge1

    grouped = rouge(repeated, REFERENCES * copies, groups=groups).rouge1
    ungrouped = rouge(repeated, REFERENCES * copies).rouge1

    assert (grouped.mean, grouped.low, grouped.high) == pytest.approx((single.mean, single.low, single.high))
    assert ungrouped.high - ungrouped.low == pytest.approx((grouped.high - grouped.low) / 2, rel=0.1)


def test_a_group_weighs_what_it_holds() -> None:
    estimate = rouge(["a", "a", "a", "b"], ["a"] * 4, groups=["g", "g", "g", "h"]).rouge1

    # Two draws of two groups give all of g, all of h or the four documents; never more than 100 points.
    assert (estimate.mean, estimate.low, estimate.high) == (75, 0, 100)


def test_the_difference_of_two_systems_is_paired() -> None:
    worse = rouge(COIN, REFERENCES)
    better = rouge(["a", *COIN[1:-1], "a"], REFERENCES)

    difference = paired_difference(better, worse).rouge1

    assert difference.mean == pytest.approx(better.rouge1.mean - worse.rouge1.mean)
    # The systems differ in 2 documents at most, so the difference is known far better than either.
    assert difference.high - difference.low <= 1.5
    assert better.rouge1.high - better.rouge1.low > 8
    assert means(paired_difference(worse, better)) == pytest.approx(
        [-difference.mean, 0, -difference.mean, -difference.mean]
    )


def test_two_independent_systems_differ_as_statistics_says() -> None:
    first, second = rouge(OTHER_COIN, REFERENCES), rouge(COIN, REFERENCES)

    difference = paired_difference(first, second).rouge1

    spread = np.std(first.scores[:, 0] - second.scores[:, 0]) / 20
    assert difference.low == pytest.approx(difference.mean - 1.96 * spread, abs=0.2 * spread)
    assert difference.high == pytest.approx(difference.mean + 1.96 * spread, abs=0.2 * spread)
    assert difference.low > 0


def test_one_system_does_not_differ_from_itself() -> None:
    scores = rouge(COIN, REFERENCES)

    difference = paired_difference(scores, scores).rouge1

    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)


def test_sentences_are_found_on_one_line() -> None:
    scores = rouge(["Gold tin. Iron lead."], ["Iron lead. Gold tin."])

    assert means(scores) == pytest.approx([100, 200 / 3, 50, 100])


def test_chinese_is_scored_by_characters() -> None:
    scores = rouge(["小船在河上。大桥很远"], ["大桥很远。小船在河"])

    # 9 characters and 8, all 8 common; pairs 7 of 8 and 7, but for the one across the mark; sentence by sentence all
    assert means(scores) == pytest.approx([1600 / 17, 100 * 2 * 6 / 15, 800 / 17, 1600 / 17])


def test_the_references_choose_what_a_word_is() -> None:
    assert word_rule(["Gödel wrote this", "and much else in plain English, as most texts have it, " * 3]) == "english"
    assert word_rule(["L'été dernier, la rivière était très basse."]) == "unicode"
    assert word_rule(["Ελληνικά"]) == word_rule(["テスト"]) == "unicode"
    assert word_rule(["123"]) == "english"
    assert rouge(["été"], ["été"]).rouge1.mean == 100
    assert rouge(["été"], ["côté"], rule="english").rouge1.mean > 0  # it sees the t alone
    assert rouge(["libraries"], ["library"], rule="unicode").rouge1.mean == 0


def test_the_fast_way_gives_the_same_rouge_l() -> None:
    texts = ["one two three", "four. Five six", "小船 x"], ["two three one", "five six. Four", "小船"]

    assert mean_rouge_l(*texts) == pytest.approx(rouge(*texts).rougeL.mean)
    assert mean_rouge_l(*texts, rule="english") == pytest.approx(rouge(*texts, rule="english").rougeL.mean)


def test_rows_can_be_estimated_by_themselves() -> None:
    found = estimate(rouge(COIN, REFERENCES).scores[:50], [str(row // 2) for row in range(50)])

    assert found == rouge(COIN[:50], REFERENCES[:50], groups=[str(row // 2) for row in range(50)])


def test_warns_of_references_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rouge(["a", "b"], ["a", "!?"])

    assert "1 of 2 references hold no word and score 0" in caplog.text


def test_prints_briefly() -> None:
    assert str(rouge(["a"], ["a"]).rouge1) == "100.00 [100.00, 100.00]"


def test_wants_as_many_of_each() -> None:
    with pytest.raises(DataError, match="expected as many of one as of the other, at least one; got 1 and 2"):
        rouge(["a"], ["a", "b"])
    with pytest.raises(DataError, match="got 0 and 0"):
        rouge([], [])
    with pytest.raises(DataError, match="groups: expected one for each of the 2 documents, got 1"):
        rouge(["a", "b"], ["a", "b"], groups=["g"])
    with pytest.raises(DataError, match="expected scores of the same documents, got 1 and 2 documents"):
        paired_difference(rouge(["a"], ["a"]), rouge(["a", "b"], ["a", "b"]))
