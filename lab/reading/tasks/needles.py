"""Hides made-up facts in real prose: tasks after RULER (Hsieh et al., 2024, arXiv:2404.06654), in code of our own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.reading.tasks.cases import Case, Question
from lab.reading.tasks.haystack import Haystack
from lab.reading.tasks.needle_words import KEYS, THEMES, TRACKING, Theme

__all__ = ["NEEDLE_TASKS", "Maker", "make_needles", "needle_cases"]

_VALUES = 4  # of a key with several, and keys asked for at once
_HOPS = 4  # of a chain of variables
_DISTRACTOR = 4_000  # characters for each needle that is not asked for
_DISTRACTORS = (3, 100)  # the fewest and the most of them; there are not many more keys
_COMMON = 5  # words that are asked for
_TIMES = (30, 3)  # how often a common and another word stand in a list, unless the list needs more


@dataclass(frozen=True)
class _Fact:
    """A sentence to hide.

    Attributes:
        key: What it is about.
        value: The figure that it gives.
        text: The sentence.
    """

    key: str
    value: str
    text: str


class Maker:
    """Draws keys and values of one case, none of them twice."""

    def __init__(self, rng: random.Random, split: str, taken: str) -> None:
        self.rng, self.split = rng, split
        self.theme: Theme = rng.choice(THEMES[split])
        self._taken = taken  # the text around the needles, which must not hold a value
        self._used: set[str] = set()
        adjectives, nouns = KEYS[split]
        self._keys = [f"{adjective} {noun}" for adjective in adjectives for noun in nouns]
        rng.shuffle(self._keys)

    def key(self) -> str:
        """Return a new key, such as `amber lighthouse`."""
        return self._keys.pop()

    def value(self) -> str:
        """Return a new figure of seven digits: odd in `settings`, even in `scored`."""
        odd = self.split == "settings"
        while True:
            value = str(2 * self.rng.randrange(500_000, 4_999_999) + odd)
            if value not in self._used and value not in self._taken:
                self._used.add(value)
                return value

    def fact(self, key: str | None = None) -> _Fact:
        """Return a new fact, about a new key unless one is given."""
        key, value = key or self.key(), self.value()
        return _Fact(key, value, self.theme.fact.format(key=key, value=value))


def needle_cases(task: str, length: int, seed: int, count: int, haystack: Haystack) -> list[Case]:
    """Make cases of a task.

    Args:
        task: One of NEEDLE_TASKS.
        length: Characters of each document, at the most.
        seed: The same seed makes the same cases.
        count: How many.
        haystack: The prose; the cases are of its split.
    """
    return [make_needles(task, length, f"{seed}.{number}", haystack) for number in range(count)]


def make_needles(task: str, length: int, seed: str, haystack: Haystack) -> Case:
    """Make one case of a task; see `needle_cases`."""
    rng = random.Random(f"{task} {haystack.split} {length} {seed}")
    text, questions = NEEDLE_TASKS[task](rng, length, haystack)
    return Case(task, f"{task}/{haystack.split}/{length}/{seed}", text, tuple(questions), haystack.split)


def _single(rng: random.Random, length: int, haystack: Haystack) -> tuple[str, list[Question]]:
    """Hide one fact."""
    return _one_of(rng, length, haystack, distractors=0)


def _multi_key(rng: random.Random, length: int, haystack: Haystack) -> tuple[str, list[Question]]:
    """Hide one fact among others of its kind about other keys."""
    return _one_of(rng, length, haystack, distractors=min(max(_DISTRACTORS[0], length // _DISTRACTOR), _DISTRACTORS[1]))


def _one_of(rng: random.Random, length: int, haystack: Haystack, distractors: int) -> tuple[str, list[Question]]:
    units, maker = _prepare(rng, length, haystack)
    asked = maker.fact()
    text, places = _hide(rng, units, [asked.text, *(maker.fact().text for _ in range(distractors))], length)
    absent, theme = maker.key(), maker.theme
    return text, [
        Question(theme.same.format(key=asked.key), (asked.value,), (places[0],), "same"),
        Question(theme.other.format(key=asked.key), (asked.value,), (places[0],), "other"),
        Question(theme.same.format(key=absent), (), (), "none"),
    ]


def _multi_value(rng: random.Random, length: int, haystack: Haystack) -> tuple[str, list[Question]]:
    """Hide several facts about one key, all of them asked for."""
    units, maker = _prepare(rng, length, haystack)
    key = maker.key()
    facts = [maker.fact(key) for _ in range(_VALUES)]
    return _all_of(rng, length, units, facts, f"the {key}", maker.theme)


def _multi_query(rng: random.Random, length: int, haystack: Haystack) -> tuple[str, list[Question]]:
    """Hide facts about several keys, all of them asked for at once."""
    units, maker = _prepare(rng, length, haystack)
    facts = [maker.fact() for _ in range(_VALUES)]
    named = [f"the {fact.key}" for fact in facts]
    return _all_of(rng, length, units, facts, f"{', '.join(named[:-1])} and {named[-1]}", maker.theme)


def _all_of(
    rng: random.Random, length: int, units: list[str], facts: list[_Fact], keys: str, theme: Theme
) -> tuple[str, list[Question]]:
    text, places = _hide(rng, units, [fact.text for fact in facts], length)
    values = tuple(fact.value for fact in facts)
    return text, [
        Question(form.format(keys=keys), values, tuple(places), wording, needs="all")
        for form, wording in ((theme.all_same, "same"), (theme.all_other, "other"))
    ]


def _variables(rng: random.Random, length: int, haystack: Haystack) -> tuple[str, list[Question]]:
    """Hide two chains of variables, each set to the one before it; the names of one chain are asked for."""
    units, maker = _prepare(rng, length, haystack)
    tracking = TRACKING[haystack.split]
    names = rng.sample([a + b + c for a in tracking.letters for b in "AEIOU" for c in "23456789"], 2 * (_HOPS + 1))
    chains, values = (names[: _HOPS + 1], names[_HOPS + 1 :]), (maker.value(), maker.value())
    # The links of a chain stay in order; the two chains are mixed.
    facts: list[str] = []
    left = [0] * (_HOPS + 1) + [1] * (_HOPS + 1)
    rng.shuffle(left)
    mine: list[int] = []
    for chain in left:
        link = left[: len(facts)].count(chain)
        name = chains[chain][link]
        if link:
            facts.append(tracking.copy.format(name=name, other=chains[chain][link - 1]))
        else:
            facts.append(tracking.first.format(name=name, value=values[chain]))
        if chain == 0:
            mine.append(len(facts) - 1)
    text, places = _hide(rng, units, facts, length, ordered=True)
    evidence = tuple(places[place] for place in mine)
    return text, [
        Question(form.format(value=values[0], count=_HOPS + 1), tuple(chains[0]), evidence, wording, needs="all")
        for form, wording in ((tracking.same, "same"), (tracking.other, "other"))
    ]


def _common_words(rng: random.Random, length: int, haystack: Haystack) -> tuple[str, list[Question]]:
    """List words in random order, some of them ten times as often as the others; the frequent ones are asked for."""
    words = list(haystack.words)
    rng.shuffle(words)
    common, others = words[:_COMMON], words[_COMMON:]
    room = length - sum(len(word) + 1 for word in common) * _TIMES[0]
    rounds = -(-max(room, 1) // sum(len(word) + 1 for word in others))  # of the whole vocabulary, for a long list
    scale = -(-rounds // _TIMES[1])
    items = [word for word in common for _ in range(_TIMES[0] * scale)]
    size = sum(len(item) + 1 for item in items)
    for word in others:
        more = (len(word) + 1) * _TIMES[1] * scale
        if size + more > length:
            break
        items += [word] * _TIMES[1] * scale
        size += more
    if len(items) == _COMMON * _TIMES[0] * scale:
        raise ValueError(f"length: expected room for more than {size:,} characters of common words, got {length:,}")
    rng.shuffle(items)
    places: list[tuple[int, int]] = []
    start = 0
    for item in items:
        if item in common:
            places.append((start, start + len(item)))
        start += len(item) + 1
    tracking = TRACKING[haystack.split]
    question = tracking.common.format(count=_COMMON)
    return " ".join(items), [Question(question, tuple(common), tuple(places), "other", needs="all")]


def _prepare(rng: random.Random, length: int, haystack: Haystack) -> tuple[list[str], Maker]:
    """Take the prose of a case; `_hide` cuts off what the facts take the place of."""
    units = haystack.draw(rng, length)
    return units, Maker(rng, haystack.split, "".join(units))


def _hide(
    rng: random.Random, units: list[str], facts: Sequence[str], length: int, *, ordered: bool = False
) -> tuple[str, list[tuple[int, int]]]:
    """Put facts between sentences at random places, each fact at a place of its own, and cut what is too long.

    Returns:
        The text, and the range of each fact in it.
    """
    size = sum(map(len, units)) + sum(len(fact) + 1 for fact in facts)
    while units and size > length:
        size -= len(units.pop())
    if len(facts) > len(units):
        raise ValueError(f"length: expected a sentence for each of {len(facts)} needles, got {len(units)}")
    slots = sorted(rng.sample(range(len(units)), len(facts)))
    order = list(range(len(facts)))
    if not ordered:
        rng.shuffle(order)
    at = dict(zip(slots, order, strict=True))
    parts: list[str] = []
    places: list[tuple[int, int]] = [(0, 0)] * len(facts)
    size = 0
    for place, unit in enumerate(units):
        if place in at:
            fact = facts[at[place]]
            places[at[place]] = (size, size + len(fact))
            parts.append(fact + " ")
            size += len(fact) + 1
        parts.append(unit)
        size += len(unit)
    text = "".join(parts).rstrip()
    assert len(text) <= length
    return text, places


NEEDLE_TASKS: dict[str, Callable[[random.Random, int, Haystack], tuple[str, list[Question]]]] = {
    "single": _single,
    "multi-key": _multi_key,
    "multi-value": _multi_value,
    "multi-query": _multi_query,
    "variables": _variables,
    "common-words": _common_words,
}
