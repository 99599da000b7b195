"""Finds the segments that answer a question: retrieval heads, words and meanings vote by their ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from simmim.errors import DataError
from simmim.reading.asking import NO_QUESTION, question_queries, segment_scores
from simmim.reading.embedding import Encoder
from simmim.reading.lexical import LexicalIndex
from simmim.reading.opened import OpenFolder, Segment
from simmim.reading.reader import Reader

__all__ = ["Finder", "Found", "calibrated", "fuse"]

_SOFT = 3.0
"""Added to every rank: how much the first ranks of one index count against the middle ranks of another."""


@dataclass(frozen=True)
class Found:
    """A segment that was found.

    Attributes:
        segment: which one.
        score: sum of the reciprocal ranks.
        ranks: its rank by each index, from 0; of segments with the same score the mean of theirs.
    """

    segment: Segment
    score: float
    ranks: dict[str, float]


def calibrated(question: Float[Tensor, "heads Q S"], nothing: Float[Tensor, "heads R S"]) -> Float[Tensor, " S"]:
    """Return the share of attention that a question gives each segment, less what no question gives it.

    Each token of the question spreads a share of 1 over the segments, per head.
    """
    return (question.softmax(-1).mean(1) - nothing.softmax(-1).mean(1)).sum(0)


def fuse(scores: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the sum of reciprocal ranks of each segment (Cormack et al. 2009), and its rank by each index.

    Segments with the same score have the mean of their ranks: an index that knows nothing prefers none.
    """
    ranks = {}
    for name, values in scores.items():
        _, which, counts = np.unique(-values, return_inverse=True, return_counts=True)
        ranks[name] = (np.cumsum(counts) - (counts + 1) / 2)[which]
    total = np.zeros(len(next(iter(scores.values()))))
    for rank in ranks.values():
        total += 1 / (_SOFT + rank)
    return total, ranks


class Finder:
    """Looks for segments of an open folder.

    Args:
        reader: the model and its heads.
        opened: the folder.
        lexical: the index of its words.
        encoder: of its vectors; None if it has none.
    """

    def __init__(self, reader: Reader, opened: OpenFolder, lexical: LexicalIndex, encoder: Encoder | None) -> None:
        self._reader, self._opened, self._lexical, self._encoder = reader, opened, lexical, encoder
        self._nothing: Tensor | None = None

    def find(self, question: str, count: int) -> list[Found]:
        """Return the segments that most likely answer a question, the best first.

        Args:
            question: what is asked.
            count: how many.

        Raises:
            DataError: the question is blank.
        """
        if not question.strip():
            raise DataError("question: expected a text, got a blank one")
        total, ranks = fuse(self.scores(question))
        best = np.argsort(-total, kind="stable")[:count]
        return [
            Found(self._opened.locate(int(i)), float(total[i]), {name: float(rank[i]) for name, rank in ranks.items()})
            for i in best
        ]

    def scores(self, question: str) -> dict[str, np.ndarray]:
        """Return the score of every segment by each index."""
        scores = {"attention": self._attention(question), "words": self._lexical.scores(question)}
        if self._encoder is not None:
            scores |= self._meaning(question, self._encoder)
        return scores

    def _attention(self, question: str) -> np.ndarray:
        if self._nothing is None:
            self._nothing = self._head_scores(NO_QUESTION)
        return calibrated(self._head_scores(question), self._nothing).cpu().numpy()

    def _head_scores(self, question: str) -> Float[Tensor, "heads Q S"]:
        reader = self._reader
        queries = question_queries(reader.model, reader.prompt, question, reader.heads)
        pairs = reader.key_heads
        which = [pairs.index((head.layer, head.head // reader.share)) for head in reader.heads]
        width, length = reader.record.width, reader.settings.segment
        found = []
        for document in self._opened.documents:
            scores = segment_scores(queries, document.index(len(pairs), width), which, length)
            document.check("index", scores.cpu().numpy())
            found.append(scores)
        return torch.cat(found, -1)

    def _meaning(self, question: str, encoder: Encoder) -> dict[str, np.ndarray]:
        [asked] = encoder.encode([question])
        whole, parts = [], []
        for document in self._opened.documents:
            segments, sentences, owners = document.vectors(encoder.width)
            with np.errstate(invalid="ignore", over="ignore"):  # of a damaged file
                whole.append(np.asarray(segments, dtype=np.float32) @ asked)
                similar = np.asarray(sentences, dtype=np.float32) @ asked
            document.check("vectors", whole[-1])
            document.check("vectors", similar)
            parts.append(best_sentence(similar, owners, document.segments))
        return {"meaning": np.concatenate(whole), "sentence": np.concatenate(parts)}


def best_sentence(similar: np.ndarray, owners: np.ndarray, segments: int) -> np.ndarray:
    """Return the similarity of each segment's best sentence; -1 for a segment without any."""
    best = np.full(segments, -1.0, dtype=np.float32)
    lengths = owners[:, 1] - owners[:, 0]
    for step in range(int(lengths.max(initial=-1)) + 1):
        reaching = lengths >= step
        np.maximum.at(best, owners[reaching, 0] + step, similar[reaching])
    return best


def with_neighbours(found: Sequence[Segment], opened: OpenFolder) -> list[Segment]:
    """Return segments and those beside them, in the order of the text, each once."""
    wanted = {
        Segment(segment.document, number)
        for segment in found
        for number in range(segment.number - 1, segment.number + 2)
        if 0 <= number < opened.documents[segment.document].segments
    }
    return sorted(wanted)
