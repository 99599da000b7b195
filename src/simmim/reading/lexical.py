"""Finds segments by their words: BM25, in any language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simmim.errors import CheckpointError
from simmim.files import open_regular
from simmim.reading.folder import AGAIN, checksum, damaged

__all__ = ["LexicalIndex", "words"]

# Chinese, Japanese and Thai write no spaces: their characters count alone and in pairs.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Marks of Hebrew, Arabic and the scripts of India, without which a word would fall apart: `\w` holds letters alone.
_MARKS = "\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_WORD = re.compile(rf"[{_UNSPACED}]+|(?:[^\W{_UNSPACED}]|[{_MARKS}])+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; of a run of Chinese characters each one and each pair."""
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).lower()):
        if re.match(f"[{_UNSPACED}]", word):
            found += [*word, *(word[i : i + 2] for i in range(len(word) - 1))]
        else:
            found.append(word)
    return found


class LexicalIndex:
    """BM25 (Robertson et al. 1994, k1 = 1.5, b = 0.75, as bm25s has it) over the segments of a folder."""

    def __init__(self, retriever: object, segments: int) -> None:
        self._retriever, self._segments = retriever, segments

    @classmethod
    def build(cls, texts: Sequence[str]) -> LexicalIndex:
        """Index segments by their texts. Cost: one pass over all words."""
        import bm25s

        retriever = bm25s.BM25()
        corpus = [words(text) for text in texts]
        if not any(corpus):
            corpus = [["\0"] for _ in texts]  # bm25s refuses a corpus without words
        retriever.index(corpus, show_progress=False)
        return cls(retriever, len(texts))

    def save(self, folder: Path) -> dict[str, int]:
        """Write the index into an empty folder; return the checksums of its files by their names."""
        self._retriever.save(str(folder))  # type: ignore[attr-defined]
        return {path.name: checksum(path.read_bytes()) for path in sorted(folder.iterdir())}

    @classmethod
    def load(cls, folder: Path, segments: int, checks: Mapping[str, int]) -> LexicalIndex:
        """Open an index; its arrays are mapped into memory.

        Args:
            folder: that `save` wrote.
            segments: that it must be about.
            checks: checksums of its files by their names.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        import bm25s

        try:
            for path in sorted(folder.iterdir()):
                with open_regular(path) as stream:
                    if checksum(stream.read()) != checks.get(path.name):
                        raise damaged(path)
            retriever = bm25s.BM25.load(str(folder), mmap=True)
            _check(retriever, segments)
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(f"{folder}: cannot open the index of words: {error}; {AGAIN}") from error
        return cls(retriever, segments)

    def scores(self, question: str) -> np.ndarray:
        """Return the score of each segment, float32; 0 where it shares no word with the question."""
        asked = [word for word in dict.fromkeys(words(question)) if word in self._retriever.vocab_dict]  # type: ignore[attr-defined]
        if not asked:
            return np.zeros(self._segments, dtype=np.float32)
        return np.asarray(self._retriever.get_scores(asked), dtype=np.float32)  # type: ignore[attr-defined]


def _check(retriever: Any, segments: int) -> None:
    """Raise if the parts of an index do not fit together.

    Raises:
        ValueError: they do not.
    """
    scores, vocabulary = retriever.scores, retriever.vocab_dict
    values, owners, begins = scores["data"], scores["indices"], scores["indptr"]
    if scores["num_docs"] != segments:
        raise ValueError(f"expected {segments:,} segments, got {scores['num_docs']!r}")
    if values.shape != owners.shape or begins.ndim != 1 or values.ndim != 1 or begins[-1] != len(values):
        raise ValueError("its arrays are of different lengths")
    if begins[0] != 0 or (np.diff(begins) < 0).any():
        raise ValueError("indptr is not in order")
    if len(owners) and (owners.min() < 0 or owners.max() >= segments):
        raise ValueError("indices names segments that there are not")
    if not np.isfinite(values).all():
        raise ValueError("data holds numbers that are not finite")
    if not all(type(number) is int and 0 <= number < len(begins) - 1 for word, number in vocabulary.items() if word):
        raise ValueError("vocab names words that there are not")
