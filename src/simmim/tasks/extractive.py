"""The extractive baseline: a document's most central sentences by TextRank, up to a number of words."""

from collections.abc import Mapping
from dataclasses import dataclass

from datasets import Dataset
from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
from sumy.nlp.stemmers import Stemmer
from sumy.summarizers.text_rank import TextRankSummarizer
from sumy.utils import get_stop_words

from simmim.tasks.rouge import WordRule, mean_rouge_l, word_rule
from simmim.tasks.summarisation import budgets
from simmim.tasks.words import count_words, document_sentences, first_words, words

__all__ = ["MOST_SENTENCES", "MOST_WORDS", "TextRank", "TextRankChoice", "best_textrank", "ranked_sentences"]

# TextRank compares all sentences in pairs, word by word: at these bounds a document takes about a second at most.
MOST_SENTENCES = 200
MOST_WORDS = 50


@dataclass(frozen=True)
class TextRank:
    """Take the sentences of a document that are most like the others as its summary.

    Attributes:
        words: How many words at most.
        rule: Whether sentences are compared by English stems without stop words, or by words as they stand.
    """

    words: int
    rule: WordRule = "english"

    def __call__(self, document: str) -> str:
        """Return the summary of a document."""
        return _shortened(ranked_sentences(document, self.rule), self.words)

    def __str__(self) -> str:
        return f"TextRank, {self.words} words"


@dataclass(frozen=True)
class TextRankChoice:
    """The strongest budget of TextRank on a split, and how all of them did there.

    Attributes:
        textrank: The one with the highest ROUGE-L.
        rouge_l: ROUGE-L of each, in points of 100.
    """

    textrank: TextRank
    rouge_l: Mapping[TextRank, float]


class _Ranker(TextRankSummarizer):  # type: ignore[misc]  # sumy has no types
    """Ranks sentences by their likeness to others alone; sumy counts a sentence's likeness to itself, too.

    That gives a sentence which shares no word with any other a rating above the average.
    """

    @staticmethod
    def _rate_sentences_edge(words1: list[str], words2: list[str]) -> float:
        return 0.0 if words1 is words2 else float(TextRankSummarizer._rate_sentences_edge(words1, words2))


class _Words:
    """Gives sumy the words of a sentence."""

    def to_words(self, sentence: str) -> list[str]:
        return words(sentence)[:MOST_WORDS]


def ranked_sentences(document: str, rule: WordRule = "english") -> list[tuple[int, str]]:
    """Rank the sentences of a document by TextRank (Mihalcea and Tarau 2004), which sumy computes.

    Only the first `MOST_SENTENCES` sentences are ranked, and each is compared by its first `MOST_WORDS` words, so that
    a long document takes no more than about a second; what lies behind is never chosen.

    Args:
        document: The text.
        rule: As in `TextRank`.

    Returns:
        Place in the document and text of each sentence, the most central one first; equal ones as they stand.
    """
    texts = [text for text in document_sentences(document) if words(text)][:MOST_SENTENCES]
    if not texts:
        return []
    english = rule == "english"
    ranker = _Ranker(*([Stemmer("english")] if english else []))
    if english:
        ranker.stop_words = get_stop_words("english")
    tokenizer = _Words()
    sentences = [Sentence(text, tokenizer) for text in texts]
    ratings = ranker.rate_sentences(ObjectDocumentModel([Paragraph(sentences)]))
    # rounded, since sentences of one rating differ by the order of additions
    order = sorted(range(len(texts)), key=lambda place: (-round(float(ratings[sentences[place]]), 9), place))
    return [(place, texts[place]) for place in order]


def best_textrank(validation: Dataset) -> TextRankChoice:
    """Choose the strongest budget of the extractive baseline by ROUGE-L.

    Args:
        validation: Rows with `document` and `summary`; not the split that results are reported on.

    Returns:
        The choice and the score of each of the `budgets`.
    """
    summaries = list(validation["summary"])
    rule = word_rule(summaries)
    ranked = [ranked_sentences(document, rule) for document in validation["document"]]
    scores = {}
    for budget in budgets(summaries):
        texts = [_shortened(sentences, budget) for sentences in ranked]
        scores[TextRank(budget, rule)] = mean_rouge_l(texts, summaries, rule=rule)
    return TextRankChoice(max(scores, key=scores.__getitem__), scores)


def _shortened(ranked: list[tuple[int, str]], budget: int) -> str:
    """Take the best sentences, the last one cut, until the budget is spent, and put them in the document's order."""
    taken: list[tuple[int, str]] = []
    for place, text in ranked:
        if budget <= 0:
            break
        taken.append((place, first_words(text, budget)))
        budget -= count_words(text)
    return "\n".join(text for _, text in sorted(taken))
