"""The extractive baseline: a document's most central sentences by TextRank, up to a number of words."""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import networkx as nx
from datasets import Dataset
from nltk.stem.snowball import SnowballStemmer

from simmim.tasks.summarization.lead import budgets
from simmim.tasks.summarization.rouge import WordRule, mean_rouge_l, word_rule
from simmim.tasks.summarization.words import count_words, document_sentences, first_words, words

__all__ = ["MOST_SENTENCES", "MOST_WORDS", "TextRank", "best_textrank", "ranked_sentences", "textrank_scores"]

# TextRank compares all sentences in pairs, word by word: at these bounds a document takes about a second at most.
MOST_SENTENCES = 200
MOST_WORDS = 50

# of English, those that Lucene leaves out
_STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with".split()
)


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


def ranked_sentences(document: str, rule: WordRule = "english") -> list[tuple[int, str]]:
    """Rank the sentences of a document by TextRank (Mihalcea and Tarau 2004): PageRank over their likeness.

    Only the first `MOST_SENTENCES` sentences are ranked, and each is compared by its first `MOST_WORDS` words, so that
    a long document takes no more than about a second; what lies behind is never chosen.

    Returns:
        Index in the document and text of each sentence, the most central one first; equal ones as they stand.
    """
    texts = [text for text in document_sentences(document) if words(text)][:MOST_SENTENCES]
    if not texts:
        return []
    compared = [_compared(text, rule) for text in texts]
    graph = nx.Graph()
    graph.add_nodes_from(range(len(texts)))
    for one, other in combinations(range(len(texts)), 2):
        if likeness := _likeness(compared[one], compared[other]):
            graph.add_edge(one, other, weight=likeness)
    ratings = nx.pagerank(graph, tol=1e-10, max_iter=1000)
    # rounded, since sentences of one rating differ by the order of additions
    order = sorted(range(len(texts)), key=lambda index: (-round(ratings[index], 9), index))
    return [(index, texts[index]) for index in order]


def _compared(text: str, rule: WordRule) -> Counter[str]:
    """Return what a sentence is compared by: its first words; of English ones the stems, without stop words."""
    found = words(text)[:MOST_WORDS]
    if rule != "english":
        return Counter(found)
    stemmer = SnowballStemmer("english")
    return Counter(stemmer.stem(word) for word in found if word not in _STOP_WORDS)


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    """Return the likeness of two sentences: pairs of equal words over log of the number of words of both."""
    pairs = sum(count * other[word] for word, count in one.items())
    size = math.log(one.total()) + math.log(other.total()) if pairs else 0.0
    return pairs / size if size else float(pairs)


def best_textrank(validation: Dataset) -> TextRank:
    """Return the budget of TextRank with the highest ROUGE-L on a split; not the split that results are reported on."""
    scores = textrank_scores(validation)
    return max(scores, key=scores.__getitem__)


def textrank_scores(validation: Dataset) -> dict[TextRank, float]:
    """Return ROUGE-L, in points of 100, of TextRank with each of the `budgets`.

    Args:
        validation: Rows with `document` and `summary`.
    """
    summaries = list(validation["summary"])
    rule = word_rule(summaries)
    ranked = [ranked_sentences(document, rule) for document in validation["document"]]
    scores = {}
    for budget in budgets(summaries):
        texts = [_shortened(sentences, budget) for sentences in ranked]
        scores[TextRank(budget, rule)] = mean_rouge_l(texts, summaries, rule=rule)
    return scores


def _shortened(ranked: list[tuple[int, str]], budget: int) -> str:
    """Take the best sentences, the last one cut, until the budget is spent, and put them in the document's order."""
    taken: list[tuple[int, str]] = []
    for index, text in ranked:
        if budget <= 0:
            break
        taken.append((index, first_words(text, budget)))
        budget -= count_words(text)
    return "\n".join(text for _, text in sorted(taken))
