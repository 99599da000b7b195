"""Summaries of summaries: sections are summarized, neighbours merged in pairs, up to one summary of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from simmim.tasks.summarization.extracts.candidates import Candidate

__all__ = ["Node", "build", "choose", "shortlist"]

_SECTION = 24  # sentences of a section, about
_KEPT = 480  # words that a node keeps of its children, about a page
_LIKENESS_OF_DOCUMENT, _LIKENESS_OF_SECTION, _LEAD = 0.6, 0.4, 0.6
_REDUNDANCY = 0.5


@dataclass(frozen=True)
class Node:
    """A part of a document.

    Attributes:
        level: 0 for a section; its children are one lower.
        first: index of its first sentence among the candidates.
        last: of its last.
        headings: those that stand over all of it.
        kept: indices of the sentences that it keeps, the best first.
        children: the parts that were merged; none in a section.
    """

    level: int
    first: int
    last: int
    headings: tuple[str, ...]
    kept: tuple[int, ...]
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """Yield the node and all under it, the highest first."""
        yield self
        for child in self.children:
            yield from child.walk()


def build(found: Sequence[Candidate], vectors: np.ndarray) -> Node:
    """Build the pyramid over the sentences of a document.

    Args:
        found: at least one sentence, in the order of the text.
        vectors: of length 1, float32, `[n, E]`.

    Returns:
        The root.

    Cost: every node compares about a page of sentences with each other, so O(n).
    """
    whole = _mean(vectors, found, range(len(found)))
    nodes = [_node(0, found, vectors, whole, span, ()) for span in _sections(found)]
    while len(nodes) > 1:
        merged = []
        for i in range(0, len(nodes) - 1, 2):
            pair = nodes[i], nodes[i + 1]
            merged.append(_node(pair[0].level + 1, found, vectors, whole, (pair[0].first, pair[1].last), pair))
        nodes = merged + nodes[len(merged) * 2 :]
    return nodes[0]


def choose(node: Node, found: Sequence[Candidate], words: int) -> list[int]:
    """Return the sentences of a node for a summary of so many words, in the order of the text; at least one.

    Sentences that do not fit are passed over, and so is what would fill a space that is nearly none.
    """
    taken: list[int] = []
    space = words
    for index in node.kept:
        if not taken or (found[index].words <= space and 3 * space >= words):
            taken.append(index)
            space -= found[index].words
    return sorted(taken)


def shortlist(found: Sequence[Candidate], vectors: np.ndarray, most: int) -> list[int]:
    """Return the most promising sentences of each section, in the order of the text: at most about so many."""
    whole = _mean(vectors, found, range(len(found)))
    kept: list[int] = []
    for first, last in _sections(found):
        offered = list(range(first, last + 1))
        scores = _scores(offered, found, vectors, whole)
        best = np.argsort(-scores, kind="stable")[: max(1, most * len(offered) // len(found))]
        kept += [offered[i] for i in sorted(best)]
    return kept


def _sections(found: Sequence[Candidate]) -> list[tuple[int, int]]:
    """Cut a document into sections, at headings where there are some."""
    spans: list[tuple[int, int]] = []
    begin = 0
    for i in range(1, len(found) + 1):
        size = i - begin
        ends = i == len(found) or (size >= _SECTION // 2 and found[i].headings[:2] != found[i - 1].headings[:2])
        if ends or size >= 2 * _SECTION:
            spans.append((begin, i - 1))
            begin = i
    return spans


def _node(
    level: int,
    found: Sequence[Candidate],
    vectors: np.ndarray,
    whole: np.ndarray,
    span: tuple[int, int],
    children: tuple[Node, ...],
) -> Node:
    first, last = span
    offered = [i for child in children for i in child.kept] or list(range(first, last + 1))
    scores = _scores(offered, found, vectors, whole)
    kept = _diverse(offered, scores, vectors, found)
    pairs = zip(found[first].headings, found[last].headings, strict=False)
    shared = tuple(one for one, other in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return Node(level, first, last, shared, kept, children)


def _scores(offered: list[int], found: Sequence[Candidate], vectors: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return how well each sentence says what the document and the part are about, float32."""
    own = _mean(vectors, found, offered)
    these = vectors[offered]
    likeness = _LIKENESS_OF_DOCUMENT * (these @ whole) + _LIKENESS_OF_SECTION * (these @ own)
    fitness = np.array([found[i].fitness for i in offered], dtype=np.float32)
    order = np.argsort(offered)  # the lead counts sentences that stand alone; a title page has others
    rank = np.zeros(len(offered), dtype=np.float32)
    rank[order] = np.cumsum(fitness[order] >= 0.7)
    lead = _LEAD / (1 + np.maximum(rank - 1, 0) / 3)
    scores: np.ndarray = fitness * (np.maximum(likeness, 0) + lead)
    return scores


def _diverse(
    offered: list[int], scores: np.ndarray, vectors: np.ndarray, found: Sequence[Candidate]
) -> tuple[int, ...]:
    """Return sentences by their scores less what those before already say (Carbonell and Goldstein 1998)."""
    kept: list[int] = []
    space = _KEPT
    these, alike, left = vectors[offered], np.zeros(len(offered), dtype=np.float32), scores.copy()
    while space > 0 and np.isfinite(left).any():
        best = int(np.argmax(left - _REDUNDANCY * scores * alike))
        kept.append(offered[best])
        space -= found[offered[best]].words
        alike = np.maximum(alike, these @ these[best])
        left[best] = -np.inf
    return tuple(kept)


def _mean(vectors: np.ndarray, found: Sequence[Candidate], chosen: Sequence[int]) -> np.ndarray:
    """Return the mean direction of sentences, those that stand alone well the heavier."""
    weights = np.array([found[i].fitness for i in chosen], dtype=np.float32)
    mean = weights @ vectors[list(chosen)]
    return mean / max(float(np.linalg.norm(mean)), 1e-9)
