"""Compares the summaries of several systems on the same documents: scores, by length too, and what they are like."""

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simmim.errors import DataError
from simmim.tasks.summarization.rouge import METRICS, Rouge, WordRule, estimate, paired_difference, rouge, word_rule
from simmim.tasks.summarization.words import count_words, words

__all__ = [
    "FEW",
    "Bucket",
    "Comparison",
    "Example",
    "Examples",
    "choose_examples",
    "compare",
    "figures",
    "length_buckets",
    "novelty",
]

FEW = 30  # an interval from fewer documents says little
_EDGES = (512, 2048, 8192)
_BEGINNING = 600  # characters of a document that are shown
_ROUGE_L = 2  # its column
_EACH = 4  # examples of a kind


@dataclass(frozen=True)
class Examples:
    """The documents that systems are compared on.

    Attributes:
        documents: The texts.
        references: Their summaries, written by people.
        tokens: Length of each document, in tokens of the first system.
        groups: What each document belongs to, as in `rouge`; None if that is not known.
    """

    documents: Sequence[str]
    references: Sequence[str]
    tokens: Sequence[int]
    groups: Sequence[str] | None = None


@dataclass(frozen=True)
class Bucket:
    """The documents of a range of lengths.

    Attributes:
        label: The range in words, in tokens; k is 1,024.
        least: Tokens of the shortest document that belongs here.
        below: Tokens from which a document does not; None for the last range.
        rows: The indices of its documents.
    """

    label: str
    least: int
    below: int | None
    rows: tuple[int, ...]

    @property
    def few(self) -> bool:
        """Whether it holds too few documents for an interval to say much."""
        return len(self.rows) < FEW


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        rule: What counted as a word.
        scores: Of each system.
        differences: The first system minus each other one, paired.
        buckets: The documents by length, the shortest first; some may be empty.
        words: Mean words of a summary, of each system and, as `reference`, of the references.
        novelty: Share of the 3-grams of the summaries that their documents do not hold; None without any 3-gram.
        groups: Of the examples.
    """

    rule: WordRule
    scores: Mapping[str, Rouge]
    differences: Mapping[str, Rouge]
    buckets: Sequence[Bucket]
    words: Mapping[str, float]
    novelty: Mapping[str, float | None]
    groups: Sequence[str] | None

    def within(self, bucket: Bucket) -> tuple[dict[str, Rouge], dict[str, Rouge]]:
        """Return scores and differences on the documents of a bucket; nothing where it is empty."""
        rows = np.array(bucket.rows, dtype=np.intp)
        groups = None if self.groups is None else [self.groups[row] for row in bucket.rows]
        both = (self.scores, self.differences) if bucket.rows else ({}, {})
        scores, differences = (
            {name: estimate(found.scores[rows], groups) for name, found in part.items()} for part in both
        )
        return scores, differences

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        by_length = []
        for bucket in self.buckets:
            scores, differences = self.within(bucket)
            row = {"label": bucket.label, "least": bucket.least, "below": bucket.below}
            row |= {"documents": len(bucket.rows), "few": bucket.few}
            by_length.append(row | {"rouge": _all(scores), "differences": _all(differences)})
        return {
            "word_rule": self.rule,
            "rouge": _all(self.scores),
            "differences": _all(self.differences),
            "by_length": by_length,
            "mean_words": {name: round(value, 2) for name, value in self.words.items()},
            "novelty": {name: None if value is None else round(value, 4) for name, value in self.novelty.items()},
        }


def compare(systems: Mapping[str, Sequence[str]], examples: Examples) -> Comparison:
    """Score systems on the same documents, and the first one against each other one.

    Returns:
        Scores with bootstrap 95 % intervals, paired differences, and what the summaries are like.

    Raises:
        DataError: A system has not one summary for each document, one is called `reference`, or there are no documents.
    """
    if "reference" in systems:
        raise DataError("systems: expected other names than 'reference', which is that of the references. Rename it.")
    rule = word_rule(examples.references)
    scores = {
        name: rouge(texts, examples.references, groups=examples.groups, rule=rule) for name, texts in systems.items()
    }
    first, *others = scores
    texts = {**systems, "reference": examples.references}
    return Comparison(
        rule=rule,
        scores=scores,
        differences={name: paired_difference(scores[first], scores[name], groups=examples.groups) for name in others},
        buckets=length_buckets(examples.tokens),
        words={name: float(np.mean([count_words(text) for text in found])) for name, found in texts.items()},
        novelty=novelty(texts, examples.documents),
        groups=examples.groups,
    )


def length_buckets(tokens: Sequence[int]) -> list[Bucket]:
    """Sort documents by their length into < 512, 512 to 2k, 2k to 8k, and 8k tokens or more (k = 1,024)."""
    labels = ("< 512", "512 to 2k", "2k to 8k", "8k or more")
    indices = [bisect_right(_EDGES, length) for length in tokens]
    bounds = zip(labels, (0, *_EDGES), (*_EDGES, None), strict=True)
    return [
        Bucket(label, least, below, tuple(row for row, found in enumerate(indices) if found == index))
        for index, (label, least, below) in enumerate(bounds)
    ]


def novelty(systems: Mapping[str, Sequence[str]], documents: Sequence[str]) -> dict[str, float | None]:
    """Return for each system the share of its summaries' 3-grams of words that do not occur in their documents.

    Returns:
        A share from 0 to 1 over all 3-grams of all summaries together, repeated ones counted once a summary; None for a
        system without a summary of three words.
    """
    new, total = dict.fromkeys(systems, 0), dict.fromkeys(systems, 0)
    for row, document in enumerate(documents):
        source = _trigrams(document)
        for name, texts in systems.items():
            own = _trigrams(texts[row])
            total[name] += len(own)
            new[name] += len(own - source)
    return {name: new[name] / total[name] if total[name] else None for name in systems}


def figures(found: Rouge) -> dict[str, dict[str, float]]:
    """Return mean, low and high of each metric, rounded for a record."""
    return {
        metric: {key: round(value, 3) for key, value in asdict(getattr(found, metric)).items()} for metric in METRICS
    }


def _all(scores: Mapping[str, Rouge]) -> dict[str, dict[str, dict[str, float]]]:
    return {name: figures(found) for name, found in scores.items()}


def _trigrams(text: str) -> set[tuple[str, str, str]]:
    found = words(text)
    return set(zip(found, found[1:], found[2:], strict=False))


@dataclass(frozen=True)
class Example:
    """One document with everything that was written about it.

    Attributes:
        kind: `best`, `worst` or `random`.
        row: its index among the documents.
        tokens: its length.
        beginning: of its text.
        reference: the summary written by a person.
        written: of each system the summary and its ROUGE-L.
    """

    kind: str
    row: int
    tokens: int
    beginning: str
    reference: str
    written: Mapping[str, tuple[str, float]]


def choose_examples(
    systems: Mapping[str, Sequence[str]], scores: Mapping[str, Rouge], examples: Examples
) -> list[Example]:
    """Choose the documents to show: the four best and worst by ROUGE-L of the first system, and as many random others.

    No document comes twice, so there may be fewer.

    Args:
        systems: the summaries of each system.
        scores: of each system.
        examples: the documents.
    """
    first = next(iter(systems))
    order = sorted(range(len(examples.documents)), key=lambda row: -scores[first].scores[row, _ROUGE_L])
    # of few documents, each kind gets its part
    count = min(_EACH, max(len(order) // 3, 1))
    best, rest = order[:count], order[count:]
    worst, rest = rest[::-1][:count], rest[: max(len(rest) - count, 0)]
    drawn = random.Random(0).sample(rest, min(count, len(rest)))
    return [
        Example(
            kind=kind,
            row=row,
            tokens=examples.tokens[row],
            beginning=_beginning(examples.documents[row]),
            reference=examples.references[row],
            written={name: (texts[row], float(scores[name].scores[row, _ROUGE_L])) for name, texts in systems.items()},
        )
        for kind, rows in (("best", best), ("worst", worst), ("random", drawn))
        for row in rows
    ]


def _beginning(document: str) -> str:
    text = document.strip()
    return text if len(text) <= _BEGINNING else text[:_BEGINNING].rstrip() + " …"
