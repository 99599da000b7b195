"""Turns sentences into vectors by their words, where no encoder knows their language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from zlib import crc32

import numpy as np

from simmim.reading.lexical import words

__all__ = ["word_vectors"]

_WIDTH = 1_024


def word_vectors(texts: Sequence[str]) -> np.ndarray:
    """Return a vector of length 1 of each text, float32, `[n, 1024]`: its words, the rarer the heavier.

    Words are hashed with a sign (Weinberger et al. 2009, arXiv 0902.2206), so that no vocabulary is kept. Cost: one
    pass over the words.
    """
    found = [Counter(words(text)) for text in texts]
    among = Counter(word for counts in found for word in counts)
    vectors = np.zeros((len(texts), _WIDTH), dtype=np.float32)
    for row, counts in zip(vectors, found, strict=True):
        for word, count in counts.items():
            code = crc32(word.encode())
            weight = (1 + np.log(count)) * np.log(1 + len(texts) / among[word])
            row[code % _WIDTH] += weight if code & 0x8000_0000 else -weight
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
