"""Score summaries by ROUGE, with bootstrap intervals, and compare two systems on the same documents."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from rouge_score.rouge_scorer import RougeScorer

from simmim.errors import DataError

__all__ = ["METRICS", "Estimate", "Rouge", "paired_difference", "rouge"]

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")

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
        rougeLsum: The same, line by line.
        scores: The value of each document, `[documents, 4]` in the order of `METRICS`, in points of 100.
    """

    rouge1: Estimate
    rouge2: Estimate
    rougeL: Estimate
    rougeLsum: Estimate
    scores: npt.NDArray[np.float64] = field(repr=False, compare=False)


def rouge(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Rouge:
    """Score predictions against references: F1 x 100, words stemmed (Porter), mean over documents.

    The scorer splits words at everything that is not an ASCII letter or digit, so it suits English only.

    Args:
        predictions: One text a document; lines count as sentences for rougeLsum.
        references: The text to match, for the same documents.
        groups: What each document belongs to. Documents of a group are alike, so with groups the bootstrap draws
            whole groups, which gives the wider, honest interval; without, it draws single documents.
        resamples: Bootstrap samples.
        seed: Fixes those samples.

    Returns:
        The mean, its interval and the value of each document, for each metric.

    Raises:
        DataError: The lengths differ, or there is no document.
    """
    if len(predictions) != len(references) or not references:
        raise DataError(
            f"predictions, references: expected as many of one as of the other, at least one; got {len(predictions)} "
            f"and {len(references)}. Pass both for the same documents."
        )
    wordless = sum(re.search("[a-z0-9]", reference.lower()) is None for reference in references)
    if wordless:
        logger.warning("%d of %d references hold no ASCII letter or digit and score 0", wordless, len(references))
    scorer = RougeScorer(METRICS, use_stemmer=True)
    found = [scorer.score(target, text) for target, text in zip(references, predictions, strict=True)]
    scores = 100 * np.array([[score[metric].fmeasure for metric in METRICS] for score in found], dtype=np.float64)
    return _estimate(scores, groups, resamples, seed)


def paired_difference(
    system: Rouge, baseline: Rouge, *, groups: Sequence[str] | None = None, resamples: int = 1000, seed: int = 0
) -> Rouge:
    """Estimate how much better a system is than a baseline on the same documents.

    Args:
        system: Its scores.
        baseline: The scores to compare with, of the same documents in the same order.
        groups: As in `rouge`.
        resamples: Bootstrap samples; both systems are drawn together.
        seed: Fixes those samples.

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
    return _estimate(system.scores - baseline.scores, groups, resamples, seed)


def _estimate(scores: npt.NDArray[np.float64], groups: Sequence[str] | None, resamples: int, seed: int) -> Rouge:
    """Estimate the mean of each column of `scores [documents, 4]` by the percentile bootstrap over groups."""
    labels = np.arange(len(scores)) if groups is None else np.asarray(groups)
    if len(labels) != len(scores):
        raise DataError(f"groups: expected one for each of the {len(scores)} documents, got {len(labels)}.")
    _, group = np.unique(labels, return_inverse=True)
    sizes = np.bincount(group)
    totals = np.zeros((len(sizes), scores.shape[1]))
    np.add.at(totals, group, scores)

    random = np.random.default_rng(seed)
    draws = (random.integers(len(sizes), size=len(sizes)) for _ in range(resamples))
    means = np.stack([totals[drawn].sum(axis=0) / sizes[drawn].sum() for drawn in draws])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    columns = zip(scores.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    rouge1, rouge2, rouge_l, rouge_lsum = (Estimate(*column) for column in columns)
    return Rouge(rouge1, rouge2, rouge_l, rouge_lsum, scores)
