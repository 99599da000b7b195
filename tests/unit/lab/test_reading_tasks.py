"""Tests the documents made for the studies of reading: same by seed, evidence in place, nothing in both splits."""

import random
import re
import tomllib

import pytest

from lab.reading.tasks.cases import SPLITS, Case, Question, embed, score
from lab.reading.tasks.documents import MANUALS, PROSE, STANDARDS
from lab.reading.tasks.haystack import Haystack, make_haystacks
from lab.reading.tasks.needle_words import KEYS, THEMES, TRACKING
from lab.reading.tasks.needles import NEEDLE_TASKS, needle_cases
from lab.reading.tasks.packages import package_cases, read_stanzas
from lab.reading.tasks.scoring import holds, normalise
from lab.reading.tasks.written import QUESTIONS, locate, written_cases

LENGTH = 12_000


def invented_word(rng: random.Random) -> str:
    return "".join(rng.choice("bdfglmnprst") + rng.choice("aeiou") for _ in range(4))


@pytest.fixture(scope="module")
def haystacks() -> dict[str, Haystack]:
    rng = random.Random(0)
    texts = []
    for number in range(60):
        sentences = [" ".join(invented_word(rng) for _ in range(12)).capitalize() + "." for _ in range(40)]
        texts.append((f"text {number}", "\n\n".join(" ".join(sentences[at : at + 5]) for at in range(0, 40, 5))))
    return make_haystacks(texts)


@pytest.fixture(scope="module")
def stanzas():
    parts = []
    for number in range(400):
        name = f"lib{invented_word(random.Random(number))}{number}"
        parts.append(
            f"Package: {name}\nVersion: {number}.{number % 7}-1\nInstalled-Size: {1000 + number}\n"
            f"Maintainer: Person {number} <person{number}@example.org>\nProvides: virtual-{number} (= 1), both\n"
            f"Homepage: https://example.org/{number}/\nSection: libs\nDescription: a library\n of numbers"
        )
    return read_stanzas("\n\n".join(parts) + "\n")


def cases_of(task: str, haystacks, stanzas, split: str, seed: int = 0) -> list[Case]:
    if task == "packages":
        return package_cases(stanzas, split, LENGTH, seed, 4)
    return needle_cases(task, LENGTH, seed, 4, haystacks[split])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", [*NEEDLE_TASKS, "packages"])
def test_the_evidence_of_every_made_case_holds_its_answers(task, split, haystacks, stanzas):
    for case in cases_of(task, haystacks, stanzas, split):
        assert LENGTH - 700 < len(case.text) <= LENGTH
        for question in case.questions:
            parts = [case.text[start:end] for start, end in question.evidence]
            assert score(question, " ; ".join(parts)) == 1.0 or question.wording == "none"
            assert score(question, question.text) == 0.0, "the question tells the answer"
            if question.wording == "none":
                assert not parts
            elif question.needs == "any":
                assert all(score(question, part) == 1.0 for part in parts)


@pytest.mark.parametrize("task", [*NEEDLE_TASKS, "packages"])
def test_a_seed_makes_the_same_cases_and_another_makes_others(task, haystacks, stanzas):
    first = cases_of(task, haystacks, stanzas, "scored")
    assert first == cases_of(task, haystacks, stanzas, "scored")
    assert not {case.text for case in first} & {case.text for case in cases_of(task, haystacks, stanzas, "scored", 1)}
    assert len({case.text for case in first}) == len(first)


@pytest.mark.parametrize("task", [*NEEDLE_TASKS, "packages"])
def test_nothing_is_in_both_splits(task, haystacks, stanzas):
    sides = [cases_of(task, haystacks, stanzas, split) for split in SPLITS]
    answers = [
        {normalise(answer) for case in side for question in case.questions for answer in question.answers}
        for side in sides
    ]
    questions = [{question.text for case in side for question in case.questions} for side in sides]
    assert not answers[0] & answers[1]
    assert not questions[0] & questions[1]


def test_the_words_of_needles_are_in_one_split_only(haystacks):
    for kind in (0, 1):
        assert not set(KEYS["settings"][kind]) & set(KEYS["scored"][kind])
    assert not set(THEMES["settings"]) & set(THEMES["scored"])
    assert not set(TRACKING["settings"].letters) & set(TRACKING["scored"].letters)
    assert not set(haystacks["settings"].words) & set(haystacks["scored"].words)
    long = [{unit.strip() for unit in haystacks[split].units if len(unit) > 50} for split in SPLITS]
    assert all(long)
    assert not long[0] & long[1]


def test_a_sentence_of_both_splits_stays_in_the_scored_one():
    shared = "This very sentence stands in each of the documents of both splits, word by word."
    haystacks = make_haystacks((f"text {number}", f"{shared} Number {number} follows.") for number in range(20))
    assert not any(shared in unit for unit in haystacks["settings"].units)
    assert any(shared in unit for unit in haystacks["scored"].units)


def test_chains_of_variables_stand_in_their_order(haystacks):
    for case in needle_cases("variables", LENGTH, 0, 4, haystacks["scored"]):
        question = case.questions[0]
        assert [start for start, _ in question.evidence] == sorted(start for start, _ in question.evidence)
        for name, (start, end) in zip(question.answers, question.evidence, strict=True):
            assert name in case.text[start:end]


def test_common_words_are_the_most_frequent_ones(haystacks):
    (case,) = needle_cases("common-words", LENGTH, 0, 1, haystacks["scored"])
    words = case.text.split()
    counts = {word: words.count(word) for word in set(words)}
    asked = set(case.questions[0].answers)
    assert min(counts[word] for word in asked) == 10 * max(counts[word] for word in set(words) - asked)
    assert len(case.questions[0].evidence) == sum(counts[word] for word in asked)


@pytest.mark.parametrize("position", [0.0, 0.3, 1.0])
def test_embedding_shifts_the_evidence(position, haystacks):
    (case,) = needle_cases("multi-query", 3_000, 0, 1, haystacks["scored"])
    longer = embed(case, LENGTH, haystacks["scored"], position, seed=1)
    assert LENGTH - 700 < len(longer.text) <= LENGTH
    assert longer == embed(case, LENGTH, haystacks["scored"], position, seed=1)
    assert case.text in longer.text
    assert longer.text.index(case.text) / (LENGTH - len(case.text)) == pytest.approx(position, abs=0.05)
    for before, after in zip(case.questions, longer.questions, strict=True):
        assert [case.text[slice(*place)] for place in before.evidence] == [
            longer.text[slice(*place)] for place in after.evidence
        ]


def test_embedding_refuses_what_cannot_be(haystacks):
    (case,) = needle_cases("single", 3_000, 0, 1, haystacks["scored"])
    with pytest.raises(ValueError, match="length of at least"):
        embed(case, 1_000, haystacks["scored"], 0.5, 0)
    with pytest.raises(ValueError, match="share"):
        embed(case, LENGTH, haystacks["scored"], 1.5, 0)
    with pytest.raises(ValueError, match="split"):
        embed(case, LENGTH, haystacks["settings"], 0.5, 0)
    with pytest.raises(ValueError, match="at most"):
        embed(case, 10**7, haystacks["scored"], 0.5, 0)


def test_too_short_a_length_is_refused(haystacks):
    for task in NEEDLE_TASKS:
        with pytest.raises(ValueError, match="expected"):
            needle_cases(task, 90, 0, 1, haystacks["scored"])


def test_a_quote_is_found_across_lines_and_only_once():
    text = "The limit\n   is 30 octets.\n\nAnother limit is 40."
    assert text[slice(*locate(text, "limit is 30 octets"))] == "limit\n   is 30 octets"
    for quote in ("limit is", "limit is 50"):
        with pytest.raises(ValueError, match="expected the evidence once"):
            locate(text, quote)


def test_written_questions_are_checked_against_their_document(tmp_path):
    (tmp_path / "settings.toml").write_text("", encoding="utf-8")
    entry = '[["page"]]\nwording = "same"\nask = "What is the limit?"\nanswers = ["{}"]\nquote = "limit is {}"\n'
    texts = {"page": "The limit\nis 30."}
    (tmp_path / "scored.toml").write_text(entry.format("thirty", "30"), encoding="utf-8")
    (case,) = written_cases(texts, tmp_path)
    assert case.questions == (Question("What is the limit?", ("thirty",), ((4, 15),), "same"),)
    for answer, quote in (("30", "40"), ("40", "30")):
        (tmp_path / "scored.toml").write_text(entry.format(answer, quote), encoding="utf-8")
        with pytest.raises(ValueError, match="page: What is the limit"):
            written_cases(texts, tmp_path)


def test_the_written_questions_are_complete_and_in_one_split_only():
    files = [tomllib.loads((QUESTIONS / f"{split}.toml").read_text(encoding="utf-8")) for split in SPLITS]
    assert not set(files[0]) & set(files[1])
    assert set(files[0]) | set(files[1]) == {*MANUALS, *STANDARDS, *PROSE}
    entries = [[entry for asked in file.values() for entry in asked] for file in files]
    wordings = [entry["wording"] for side in entries for entry in side]
    assert wordings.count("same") >= 40
    assert wordings.count("other") >= 40
    assert wordings.count("none") >= 15
    answers = [{normalise(answer).lower() for entry in side for answer in entry.get("answers", [])} for side in entries]
    assert not answers[0] & answers[1]
    for entry in (entry for side in entries for entry in side if entry["wording"] != "none"):
        assert any(holds(entry["quote"], answer) for answer in entry["answers"])
        assert not any(holds(entry["ask"], answer) for answer in entry["answers"])
        assert all(len(re.findall(r"\S+", answer)) <= 4 for answer in entry["answers"])
