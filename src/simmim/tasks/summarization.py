"""Summarise documents: turn examples into token ids, and the baselines that a model has to beat."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from simmim.data.control_tokens import encode_plain_text
from simmim.errors import ConfigError
from simmim.tasks.rouge import Estimate, Rouge, mean_rouge_l, paired_difference, rouge, word_rule
from simmim.tasks.words import count_words, document_sentences, first_words

__all__ = [
    "Estimate",
    "Lead",
    "LeadChoice",
    "Rouge",
    "best_lead",
    "budgets",
    "first_sentence",
    "lead",
    "paired_difference",
    "rouge",
    "tokenize_examples",
]

logger = logging.getLogger(__name__)

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
        return lead(first_sentence(document) if self.sentence else document, self.words)

    def __str__(self) -> str:
        words = "" if self.words is None else f"first {self.words} words"
        return " of the ".join(part for part in (words, "first sentence" if self.sentence else "") if part)


@dataclass(frozen=True)
class LeadChoice:
    """The strongest lead on a split, and how all of them did there.

    Attributes:
        lead: The one with the highest ROUGE-L.
        rouge_l: ROUGE-L of each, in points of 100.
    """

    lead: Lead
    rouge_l: Mapping[Lead, float]


def lead(document: str, words: int | None) -> str:
    """Return the first `words` words of a document, divided by single spaces; None takes all."""
    return first_words(document, words)


def first_sentence(document: str) -> str:
    """Return the first sentence of a document, which ends with its first paragraph at the latest."""
    return next(iter(document_sentences(document)), "")


def budgets(summaries: Sequence[str]) -> list[int]:
    """Return the lengths that a baseline tries, in words: from 4 to 256, and none above the longest summary."""
    longest = max(map(count_words, summaries))
    return [words for words in _BUDGETS if words <= max(longest, _BUDGETS[0])]


def best_lead(validation: Dataset) -> LeadChoice:
    """Choose the strongest lead baseline by ROUGE-L.

    The candidates are the first sentence and, for each of the `budgets`, so many words of the document and of its first
    sentence.

    Args:
        validation: Rows with `document` and `summary`; not the split that results are reported on.

    Returns:
        The choice and the score of each candidate.
    """
    documents, summaries = list(validation["document"]), list(validation["summary"])
    rule, tried = word_rule(summaries), budgets(summaries)
    leads = [Lead(None, sentence=True), *(Lead(words, sentence) for sentence in (False, True) for words in tried)]
    scores = {one: mean_rouge_l([one(document) for document in documents], summaries, rule=rule) for one in leads}
    return LeadChoice(max(scores, key=scores.__getitem__), scores)


def tokenize_examples(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_source_tokens: int | None = None,
    max_target_tokens: int | None = None,
) -> Dataset:
    """Turn documents and summaries into token ids; how many of them are cut is logged, never silent.

    Args:
        dataset: Rows with `document` and `summary`.
        tokenizer: Ends each text with a closing token, which stays when the text is cut.
        max_source_tokens: Longest document, in tokens, closing token included; None never cuts.
        max_target_tokens: Longest summary, likewise.

    Returns:
        The columns `input_ids`, `labels` and `length` (tokens in `input_ids`), row for row.

    Raises:
        ConfigError: A limit is below 2, so that it leaves no text beside the closing token.
    """
    for name, limit in (("max_source_tokens", max_source_tokens), ("max_target_tokens", max_target_tokens)):
        if limit is not None and limit < 2:
            raise ConfigError(f"{name}: expected None or at least 2 (one token and the closing one), got {limit}.")

    def tokenize(batch: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        sources = encode_plain_text(tokenizer, batch["document"])["input_ids"]
        targets = encode_plain_text(tokenizer, batch["summary"])["input_ids"]
        inputs = [_cut(ids, max_source_tokens) for ids in sources]
        return {
            "input_ids": inputs,
            "labels": [_cut(ids, max_target_tokens) for ids in targets],
            "length": [len(ids) for ids in inputs],
            "source_tokens": [len(ids) for ids in sources],
            "target_tokens": [len(ids) for ids in targets],
        }

    tokenized = dataset.map(tokenize, batched=True, remove_columns=dataset.column_names)
    for name, limit in (("source_tokens", max_source_tokens), ("target_tokens", max_target_tokens)):
        if limit is not None:
            lengths = tokenized[name]
            cut = sum(length > limit for length in lengths)
            if cut:
                logger.warning("max_%s=%d cuts %d of %d texts", name, limit, cut, len(tokenized))
    return tokenized.remove_columns(["source_tokens", "target_tokens"])


def _cut(ids: list[int], limit: int | None) -> list[int]:
    """Shorten token ids to `limit`, and keep the last one, which closes the text."""
    return ids if limit is None or len(ids) <= limit else [*ids[: limit - 1], ids[-1]]
