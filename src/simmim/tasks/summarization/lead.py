"""The baseline `lead`: the beginning of a document is its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset

from simmim.tasks.summarization.rouge import mean_rouge_l, word_rule
from simmim.tasks.summarization.words import count_words, document_sentences, first_words

__all__ = ["Lead", "best_lead", "budgets", "lead_scores"]

_BUDGETS = (*range(4, 13), 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class Lead:
    """Take the beginning of a document as its summary.

    Attributes:
        words: How many words at most; None takes all.
        sentence: Whether to stop at the end of the first sentence.
    """

    words: int | None
    sentence: bool

    def __call__(self, document: str) -> str:
        """Return the summary of a document."""
        # the first sentence ends with the first paragraph at the latest
        text = next(iter(document_sentences(document)), "") if self.sentence else document
        return first_words(text, self.words)

    def __str__(self) -> str:
        words = "" if self.words is None else f"first {self.words} words"
        return " of the ".join(part for part in (words, "first sentence" if self.sentence else "") if part)


def budgets(summaries: Sequence[str]) -> list[int]:
    """Return the lengths that a baseline tries, in words: from 4 to 256, and none above the longest summary."""
    longest = max(map(count_words, summaries))
    return [words for words in _BUDGETS if words <= max(longest, _BUDGETS[0])]


def best_lead(validation: Dataset) -> Lead:
    """Return the lead with the highest ROUGE-L on a split; not the split that results are reported on."""
    scores = lead_scores(validation)
    return max(scores, key=scores.__getitem__)


def lead_scores(validation: Dataset) -> dict[Lead, float]:
    """Return ROUGE-L, in points of 100, of the first sentence and, for each of the `budgets`, of so many words.

    These are words of the document, and of its first sentence.

    Args:
        validation: Rows with `document` and `summary`.
    """
    documents, summaries = list(validation["document"]), list(validation["summary"])
    rule, tried = word_rule(summaries), budgets(summaries)
    leads = [Lead(None, sentence=True), *(Lead(words, sentence) for sentence in (False, True) for words in tried)]
    return {one: mean_rouge_l([one(document) for document in documents], summaries, rule=rule) for one in leads}
