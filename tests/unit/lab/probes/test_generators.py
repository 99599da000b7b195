"""The probes' answers are right by another way of finding them, and no test example can be met in training."""

from __future__ import annotations

import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.probes import IGNORED, PROBES, Copying, Example, ListOps, Passkey, Probe, Recall
from simmim import ConfigError

NAMES = sorted(PROBES)
SHORT = {"copying": 5, "listops": 10, "passkey": 40, "recall": 6}
"""Lengths at which contents are few, so that chance would soon draw one twice."""

draws = given(
    seed=st.integers(0, 2**31), number=st.integers(0, 10**6), split=st.sampled_from(["train", "test"]), data=st.data()
)


def answers(example: Example) -> list[int]:
    found: list[int] = example.labels[example.labels != IGNORED].tolist()
    return found


@settings(max_examples=50)
@draws
def test_passkey_is_said_once_and_asked_for(seed: int, number: int, split: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(Passkey.least, 400))
    example = Passkey().example(split, seed, number, length)
    text = example.input_ids.tolist()
    assert len(text) == len(example.labels) == length
    assert 0 < min(text) <= max(text) < Passkey.vocab_size
    statement = Passkey._before.tolist()
    starts = [i for i in range(length) if text[i : i + len(statement)] == statement]
    key, asked = ([text[i + len(statement) + j] for j in range(5)] for i in starts)  # said, and asked for at the end
    assert key == asked == answers(example)
    assert example.labels.tolist() == [IGNORED] * (length - 5) + key
    assert set(example.groups) == {number % 10}
    assert abs(starts[0] / max(1, length - Passkey.least) - (number % 10 + 0.5) / 10) <= 0.05 + 1 / max(
        1, length - Passkey.least
    )


@settings(max_examples=50)
@draws
def test_recall_asks_for_every_key_once(seed: int, number: int, split: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(4, 140))
    example = Recall().example(split, seed, number, length)
    text, labels, pairs = example.input_ids.tolist(), example.labels.tolist(), Recall().pairs(length)
    told = dict(zip(text[0 : 2 * pairs : 2], text[1 : 2 * pairs : 2], strict=True))
    assert len(told) == len(set(told.values())) == pairs
    asked = [place for place, token in enumerate(text[2 * pairs :], 2 * pairs) if token]
    assert sorted(text[place] for place in asked) == sorted(told)
    assert [labels[place + 1] for place in asked] == [told[text[place]] for place in asked]
    assert sum(label != IGNORED for label in labels) == pairs
    distances = [place - text.index(text[place]) for place in asked]
    assert all(group <= distance < 2 * group for group, distance in zip(example.groups, distances, strict=True))
    assert all(0 < key < 128 <= value < 256 for key, value in told.items())


def test_recall_has_the_sizes_of_the_paper_and_prefers_near_places() -> None:
    assert {length: Recall().pairs(length) for length in (64, 128, 256, 512)} == {64: 4, 128: 8, 256: 16, 512: 64}
    places = Counter[int]()
    for number in range(1500):
        example = Recall().example("train", 0, number, 16)
        places.update((np.flatnonzero(example.input_ids[2:]) // 2).tolist())
    # one pair, 7 places: the first has 1 / (1 + 1/2 + ... + 1/7) of the queries, nearly
    assert places[0] / 1500 == pytest.approx(1 / sum(1 / n for n in range(1, 8)), abs=0.04)
    assert set(places) == set(range(7))


@settings(max_examples=50)
@draws
def test_copying_says_the_string_again(seed: int, number: int, split: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(3, 99))
    example = Copying().example(split, seed, number, length)
    text = example.input_ids.tolist()
    middle = text.index(1)
    assert len(text) in (length, length - 1)
    assert text[:middle] == text[middle + 1 :] == answers(example)
    assert example.labels[: middle + 1].tolist() == [IGNORED] * (middle + 1)
    assert example.groups.tolist() == sorted(example.groups)
    assert set(text) - {1} <= set(range(2, 18))


OPERATIONS = {
    "MIN": min,
    "MAX": max,
    "MED": lambda values: int(statistics.median(values)),
    "SM": lambda values: sum(values) % 10,
}
WORDS = {**{1 + digit: str(digit) for digit in range(10)}, 11: "MIN", 12: "MAX", 13: "MED", 14: "SM", 15: "]"}


def evaluate(words: list[str]) -> tuple[int, int]:
    """Take one value off the front of the words; return it and the depth of its operations."""
    word = words.pop(0)
    if word.isdecimal():
        return int(word), 0
    arguments = []
    while words[0] != "]":
        arguments.append(evaluate(words))
    words.pop(0)
    assert 2 <= len(arguments) <= 10
    return OPERATIONS[word]([value for value, _ in arguments]), 1 + max(depth for _, depth in arguments)


@settings(max_examples=50)
@draws
def test_listops_has_the_value_that_reading_it_gives(seed: int, number: int, split: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(8, 300))
    example = ListOps().example(split, seed, number, length)
    *words, said = [WORDS[token] for token in example.input_ids.tolist()]
    assert length // 4 < len(words) < length
    value, depth = evaluate(words)
    assert not words, "something stands between the last bracket and the value"
    assert (value, depth) == (int(said), int(example.groups.item()))
    assert answers(example) == [example.labels[-1]] == [example.input_ids[-1]]
    assert depth <= 9


def test_listops_has_the_settings_of_long_range_arena() -> None:
    """Lengths from 500 to 2,000, all operators and digits alike, a quarter of the arguments are operations."""
    examples = [ListOps().example("train", 0, number, 2000) for number in range(60)]
    expressions = [example.input_ids[:-1].tolist() for example in examples]
    lengths = [len(expression) for expression in expressions]
    assert 500 < min(lengths) < 700
    assert 1500 < max(lengths) < 2000
    found = Counter(token for expression in expressions for token in expression)
    digits, operators = [found[n] for n in range(1, 11)], [found[n] for n in range(11, 15)]
    assert max(digits) < 1.1 * min(digits)
    assert max(operators) < 1.15 * min(operators)
    assert found[15] == sum(operators)
    # with 2 to 10 arguments, 6 on average: six arguments to an operation
    assert (sum(digits) + sum(operators) - 60) / sum(operators) == pytest.approx(6, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_depends_on_its_arguments_alone(name: str) -> None:
    first, again = (PROBES[name]().example("train", 3, 5, 80) for _ in range(2))
    for ours, theirs in ((first.input_ids, again.input_ids), (first.labels, again.labels)):
        np.testing.assert_array_equal(ours, theirs)
    for other in (("test", 3, 5, 80), ("train", 4, 5, 80), ("train", 3, 6, 80), ("train", 3, 5, 88)):
        assert not np.array_equal(first.input_ids, PROBES[name]().example(*other).input_ids)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_test_split_is_met_in_training(name: str) -> None:
    """Where contents are few, both splits meet the same ones again and again, but never each other's."""
    probe: Probe = PROBES[name]()
    train, test = (
        {probe.content(probe.example(split, seed, number, SHORT[name])) for seed in (0, 1) for number in range(400)}
        for split in ("train", "test")
    )
    assert not train & test
    if name == "copying":
        assert len(train) < 300, "256 strings, so that most were drawn again"
        assert len(test) > 20


@pytest.mark.parametrize(("name", "length"), [("copying", 2), ("listops", 7), ("passkey", 20), ("recall", 3)])
def test_a_text_that_is_too_short_is_refused(name: str, length: int) -> None:
    with pytest.raises(ConfigError, match=rf"length: expected \d+ or more tokens.*got {length}$"):
        PROBES[name]().example("train", 0, 0, length)


def test_recall_of_more_pairs_than_keys_is_refused() -> None:
    Recall().example("test", 0, 0, 16 * 128 - 1)
    with pytest.raises(ConfigError, match=r"length: expected less than 2048 tokens.* 127 keys; got 2048"):
        Recall().example("test", 0, 0, 16 * 128)
