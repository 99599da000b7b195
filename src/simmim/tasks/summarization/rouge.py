"""Score summaries by ROUGE, with bootstrap intervals, and compare two systems on the same documents."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

from simmim.errors import DataError
from simmim.tasks.bootstrap import Draws, interval
from simmim.tasks.summarization.words import line_sentences, words

__all__ = [
    "METRICS",
    "Estimate",
    "Rouge",
    "WordRule",
    "estimate",
    "mean_rouge_l",
    "paired_difference",
    "rouge",
    "word_rule",
]

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
WordRule: TypeAlias = Literal["english", "unicode"]
"""What counts as a word: `english` is rouge-score's own rule (runs of ASCII letters and digits, Porter stems), which
published figures use; `unicode` is `words` of the file `words.py`, for every other language, without stemming."""

_MOST_FOREIGN = 0.01  # share of letters outside ASCII: English has fewer, accented Latin languages have more

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimate:
    """A mean over documents and its bootstrap 95 % interval, in points of 100."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Rouge:
    """F1 of one system, or the difference of two.

    Attributes:
        rouge1: Overlap of words.
        rouge2: Overlap of word pairs.
        rougeL: Longest common subsequence.
        rougeLsum: The same, sentence by sentence.
        scores: The value of each document, `[documents, 4]` in the order of `METRICS`, in points of 100.
    """

    rouge1: Estimate
    rouge2: Estimate
    rougeL: Estimate
    rougeLsum: Estimate
    scores: npt.NDArray[np.float64] = field(repr=False, compare=False)


class _AnyScript(Tokenizer):  # type: ignore[misc]  # rouge-score has no types
    """Gives rouge-score the words of any script."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def word_rule(references: Iterable[str]) -> WordRule:
    """Choose what counts as a word by the references: `unicode` if more than 1 % of their letters are not ASCII."""
    letters = foreign = 0
    for text in references:
        found = [character for character in text if character.isalpha()]
        letters += len(found)
        foreign += sum(not character.isascii() for character in found)
    return "unicode" if foreign > _MOST_FOREIGN * letters else "english"


def rouge(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    rule: WordRule | None = None,
) -> Rouge:
    """Score predictions against references: F1 x 100, mean over documents.

    For rougeLsum, texts of both sides are split into sentences: at line ends and after . ! ? and their CJK forms.

    Args:
        predictions: One text a document.
        references: The text to match, for the same documents.
        groups: What each document belongs to. Documents of a group are alike, so with groups the bootstrap draws
            whole groups, which gives the wider, honest interval; without, it draws single documents.
        rule: What counts as a word; by default as `word_rule` chooses for the references.

    Returns:
        The mean, its interval and the value of each document, for each metric.

    Raises:
        DataError: The lengths differ, or there is no document.
    """
    return estimate(_scores(METRICS, predictions, references, rule), groups)


def mean_rouge_l(predictions: Sequence[str], references: Sequence[str], *, rule: WordRule | None = None) -> float:
    """Return the mean that `rouge` gives as rougeL, and nothing else: faster where many systems are tried.

    Raises:
        DataError: The lengths differ, or there is no document.
    """
    return float(_scores(("rougeL",), predictions, references, rule).mean())


def _scores(
    metrics: Sequence[str], predictions: Sequence[str], references: Sequence[str], rule: WordRule | None
) -> npt.NDArray[np.float64]:
    """Return the value of each document and metric, `[documents, metrics]`, in points of 100."""
    if len(predictions) != len(references) or not references:
        raise DataError(
            f"predictions, references: expected as many of one as of the other, at least one; got {len(predictions)} "
            f"and {len(references)}. Pass both for the same documents."
        )
    tokenizer = DefaultTokenizer(use_stemmer=True) if (rule or word_rule(references)) == "english" else _AnyScript()
    wordless = sum(not tokenizer.tokenize(reference) for reference in references)
    if wordless:
        logger.warning("%d of %d references hold no word and score 0", wordless, len(references))
    scorer = RougeScorer(metrics, tokenizer=tokenizer)
    # only rougeLsum looks at lines; to the other metrics a line end is the space that it was
    pairs = zip(references, predictions, strict=True)
    found = [scorer.score(*("\n".join(line_sentences(text)) for text in pair)) for pair in pairs]
    return 100 * np.array([[score[metric].fmeasure for metric in metrics] for score in found], dtype=np.float64)


def paired_difference(system: Rouge, baseline: Rouge, *, groups: Sequence[str] | None = None) -> Rouge:
    """Estimate how much better a system is than a baseline on the same documents.

    Args:
        system: Its scores.
        baseline: The scores to compare with, of the same documents in the same order.
        groups: As in `rouge`; both systems are drawn together.

    Returns:
        System minus baseline; an interval that leaves out 0 is a difference at the 95 % level.

    Raises:
        DataError: The two, or the groups, are of different numbers of documents.
    """
    if len(system.scores) != len(baseline.scores):
        raise DataError(
            f"system, baseline: expected scores of the same documents, got {len(system.scores)} and "
            f"{len(baseline.scores)} documents. Score both on the same split."
        )
    return estimate(system.scores - baseline.scores, groups)


def estimate(scores: npt.NDArray[np.float64], groups: Sequence[str] | None = None) -> Rouge:
    """Estimate means from the values of documents, by the percentile bootstrap over groups.

    Args:
        scores: `[documents, 4]` in the order of `METRICS`, in points of 100; the rows of some documents, for instance.
        groups: As in `rouge`.

    Returns:
        The mean of each column, its interval, and the scores.

    Raises:
        DataError: The groups are of another number of documents.
    """
    labels = range(len(scores)) if groups is None else groups
    if len(labels) != len(scores):
        raise DataError(f"groups: expected one for each of the {len(scores)} documents, got {len(labels)}.")
    draws = Draws(labels)
    low, high = interval(draws.resampled(scores) / draws.resampled(np.ones((len(scores), 1))))
    columns = zip(scores.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    rouge1, rouge2, rouge_l, rouge_lsum = (Estimate(*column) for column in columns)
    return Rouge(rouge1, rouge2, rouge_l, rouge_lsum, scores)
