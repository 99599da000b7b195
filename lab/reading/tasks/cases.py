"""Says what a case of a reading task is, scores a reply to it, and puts a case into the middle of other text."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from lab.reading.tasks.haystack import Haystack
from lab.reading.tasks.scoring import score_reply

__all__ = ["SPLITS", "WORDINGS", "Case", "Question", "embed", "score"]

SPLITS = ("settings", "scored")
WORDINGS = ("same", "other", "none")


@dataclass(frozen=True)
class Question:
    """One question about a document.

    Attributes:
        text: What is asked.
        answers: What a right reply holds; empty where the document does not say, and a right reply says so.
        evidence: Ranges [start, end) of characters of the document that hold the answer: for `any` each of them
            does, for `all` it takes every one.
        wording: `same` where it shares the words of the text, `other` where it uses other words, `none` where the
            document has no answer.
        needs: `any` where one of the answers is enough, `all` where each of them is asked for.
    """

    text: str
    answers: tuple[str, ...]
    evidence: tuple[tuple[int, int], ...]
    wording: str
    needs: str = "any"

    def __post_init__(self) -> None:
        """Refuse what no task may make."""
        if self.wording not in WORDINGS or self.needs not in ("any", "all"):
            raise ValueError(f"{self.text}: unknown wording {self.wording!r} or needs {self.needs!r}")
        if (self.wording == "none") != (not self.answers):
            raise ValueError(f"{self.text}: expected answers unless the wording is 'none'")


@dataclass(frozen=True)
class Case:
    """A document and what is asked about it.

    Attributes:
        task: What is tried, such as `multi-key` or `manuals`.
        name: Its own name.
        text: The document.
        questions: What is asked, each alone.
        split: `settings` where heads and settings may be chosen on it, `scored` where scores are taken.
    """

    task: str
    name: str
    text: str
    questions: tuple[Question, ...]
    split: str


def score(question: Question, answer_text: str) -> float:
    """Score a reply from 0 to 1; see `scoring.score_reply` for the rules."""
    return score_reply(question.answers, question.needs, answer_text)


def embed(case: Case, length: int, filler: Haystack, position: float, seed: int) -> Case:
    """Put a case into the middle of other text.

    Args:
        case: The case.
        length: Characters of the new document; the result is at most a sentence of the filler shorter.
        filler: Where the other text comes from; it must be of the case's split.
        position: Share of the other text that comes before the document, from 0 to 1.
        seed: The same seed takes the same part of the filler.

    Returns:
        The case with the longer document and the evidence where it now stands.

    Raises:
        ValueError: The case is longer than `length`, the position is no share, or the filler is of the other split.
    """
    gap = "\n\n"
    room = length - len(case.text) - 2 * len(gap)
    if room < 0:
        raise ValueError(f"{case.name}: expected a length of at least {length - room:,} characters, got {length:,}")
    if not 0 <= position <= 1:
        raise ValueError(f"position: expected a share from 0 to 1, got {position}")
    if filler.split != case.split:
        raise ValueError(f"{case.name}: expected a filler of the split {case.split}, got one of {filler.split}")
    units = filler.draw(random.Random(f"embed {case.name} {seed}"), room)
    wanted, before, place = position * sum(map(len, units)), 0, 0
    while place < len(units) and before + len(units[place]) / 2 <= wanted:
        before += len(units[place])
        place += 1
    head = "".join(units[:place])
    shift = len(head) + len(gap) if head else 0
    tail = "".join(units[place:]).rstrip()
    text = (head + gap if head else "") + case.text + (gap + tail if tail else "")
    questions = tuple(
        replace(question, evidence=tuple((start + shift, end + shift) for start, end in question.evidence))
        for question in case.questions
    )
    name = f"{case.name}@{length}/{position:g}/{seed}"
    return replace(case, name=name, text=text, questions=questions)
