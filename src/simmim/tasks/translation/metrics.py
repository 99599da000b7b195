"""Measures translations: chrF and BLEU with intervals, marks, numbers, terms translated alike, and lengths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from simmim.tasks.bootstrap import Draws, interval
from simmim.tasks.translation.faults import mark_faults, missing_numbers, numbers_of
from simmim.tasks.translation.marks import MARK, Mark

__all__ = ["Interval", "Measured", "measure", "term_consistency"]


@dataclass(frozen=True)
class Interval:
    """A score and its 95 % interval, from resampled documents."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """What was measured of the translations of a system in one direction.

    Attributes:
        blocks: how many.
        documents: how many they are from.
        chrf: chrF, 0 to 100.
        bleu: BLEU, 0 to 100.
        signatures: sacrebleu's names of the two, which say the tokeniser.
        marks: the share of blocks with marks that have them all, once each and nested; None where none has marks.
        numbers: the share of the numbers of the sources that the translations have; None where there are none.
        terms: LTCR; see `term_consistency`.
        length: characters of the translations by those of the references.
    """

    blocks: int
    documents: int
    chrf: Interval
    bleu: Interval
    signatures: Mapping[str, str]
    marks: float | None
    numbers: float | None
    terms: float | None
    length: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def measure(
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[str],
    documents: Sequence[str],
    *,
    language: str,
) -> Measured:
    """Measure translations, block by block.

    Args:
        sources: the blocks.
        translations: what a system wrote for each, with marks.
        references: what people wrote for each, with marks.
        documents: the document of each block; intervals resample documents, as blocks of one are alike.
        language: that of the translations; Chinese and Japanese are cut into words by sacrebleu's own tokenisers.
    """
    written, wanted = ([MARK.sub("", text).strip() for text in side] for side in (translations, references))
    tokenizer = {"zh": "zh", "ja": "char", "ko": "char"}.get(language[:2], "13a")
    metrics = {"chrf": CHRF(), "bleu": BLEU(tokenize=tokenizer)}
    draws = Draws(documents)
    found = {name: _interval(metric, written, wanted, draws) for name, metric in metrics.items()}
    signatures = {name: str(metric.get_signature()) for name, metric in metrics.items()}
    with_marks = [index for index, source in enumerate(sources) if MARK.search(source)]
    kept = sum(not mark_faults(_placeholders(sources[index]), translations[index]) for index in with_marks)
    total = sum(sum(numbers_of(source).values()) for source in sources)
    missing = sum(len(missing_numbers(*pair)) for pair in zip(sources, translations, strict=True))
    return Measured(
        blocks=len(sources),
        documents=len(set(documents)),
        chrf=found["chrf"],
        bleu=found["bleu"],
        signatures=signatures,
        marks=kept / len(with_marks) if with_marks else None,
        numbers=1 - missing / total if total else None,
        terms=term_consistency(sources, translations, documents),
        length=sum(map(len, written)) / max(1, sum(map(len, wanted))),
    )


def _placeholders(source: str) -> list[Mark]:
    """Return marks as many as a block has; what they stand for is not known any more, nor what they open and close."""
    return [Mark("") for _ in set(MARK.findall(source))]


def _interval(metric: Any, translations: list[str], references: list[str], draws: Draws) -> Interval:
    """Score a corpus, and resample its documents with the counts that the score is made of."""
    metric.corpus_score(translations, [references])  # sets the signature
    counts = np.asarray(metric._extract_corpus_statistics(translations, [references]), dtype=np.int64)

    def score(row: Any) -> float:
        return float(metric._compute_score_from_stats(row.tolist()).score)

    low, high = interval(np.array([score(row) for row in draws.resampled(counts)]))
    return Interval(score(counts.sum(0)), float(low), float(high))


def term_consistency(sources: Sequence[str], translations: Sequence[str], documents: Sequence[str]) -> float | None:
    """Return LTCR, the lexical translation consistency ratio: how often a repeated term is translated alike.

    Terms are what stands between two marks that follow each other (the name of a menu in bold, say), as there it is
    known without word alignment which words of the translation belong to them. Of all pairs of occurrences of a term in
    a document, the share whose translations are the same, case aside (after Lyu et al., 2021, https://aclanthology.org/2021.emnlp-main.262/).

    Args:
        sources: the blocks.
        translations: what was written for each.
        documents: the document of each block.

    Returns:
        The share; None where no term is repeated.
    """
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source, translation, document in zip(sources, translations, documents, strict=True):
        spans = _spans(translation)
        for marks, term in _spans(source).items():
            if marks in spans and any(map(str.isalpha, term)):
                found[document, term.casefold()].append(spans[marks].casefold())
    pairs = [first == second for written in found.values() for first, second in combinations(written, 2)]
    return sum(pairs) / len(pairs) if pairs else None


def _spans(text: str) -> dict[tuple[str, str], str]:
    """Return what stands between each mark of an odd number in the order and the mark that follows it."""
    marks = list(MARK.finditer(text))
    return {
        (first[1], second[1]): text[first.end() : second.start()].strip()
        for first, second in pairwise(marks)
        if text[first.end() : second.start()].strip()
    }
