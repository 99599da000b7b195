"""Finds documents that are nearly the same in two splits: MinHash sketches propose, the shingles themselves decide."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import xxhash
from datasketch import MinHash, MinHashLSH

__all__ = ["flag_near_duplicates", "near_duplicates", "normalise"]

WORDS = 5  # of a shingle
SIMILARITY = 0.8  # Jaccard: shared shingles / all shingles of two documents
_PROPOSED = 0.7  # what the sketches look for: below SIMILARITY, as they only estimate
_PERMUTATIONS = 128


def near_duplicates(held_out: Sequence[str], others: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Find the documents that are nearly the same as one of another set.

    Two documents are, if their sets of five-word shingles (case, digits and white space aside) have a Jaccard
    similarity of 0.8 or more. All shingles of a document count, however long it is. What a sketch of 128 hashes
    proposes is checked exactly; it misses a pair of similarity 0.8 about once in a hundred times, and less beyond.

    Yields:
        The index in `held_out` and the index in `others` of two such documents.
    """
    index = MinHashLSH(threshold=_PROPOSED, num_perm=_PERMUTATIONS)
    kept = [_shingles(document) for document in held_out]
    for row, shingles in enumerate(kept):
        index.insert(row, _sketch(shingles))
    for row, document in enumerate(others):
        shingles = _shingles(document)
        for candidate in sorted(index.query(_sketch(shingles))):
            if _similarity(kept[candidate], shingles) >= SIMILARITY:
                yield candidate, row


def flag_near_duplicates(documents: dict[str, list[str]]) -> dict[str, list[int]]:
    """Find what an evaluation may leave out: rows of test and validation that are nearly in a split before them.

    Returns:
        The indices of such rows in validation (nearly in train) and test (nearly in train or validation).
    """
    before = {"validation": documents["train"], "test": [*documents["train"], *documents["validation"]]}
    return {
        split: sorted({row for row, _ in near_duplicates(documents[split], others)}) for split, others in before.items()
    }


def normalise(text: str) -> str:
    """Fold what does not make two texts different: case, digits (all become 0) and white space."""
    return " ".join(re.sub(r"\d", "0", text.lower()).split())


def _shingles(document: str) -> npt.NDArray[np.uint32]:
    """Return the hashes of all runs of five words, in order, each once."""
    words = normalise(document).split()
    runs = range(max(len(words) - WORDS + 1, 1))
    return np.unique(
        np.fromiter(
            (xxhash.xxh32_intdigest(" ".join(words[start : start + WORDS]).encode()) for start in runs), np.uint32
        )
    )


def _sketch(shingles: npt.NDArray[np.uint32]) -> MinHash:
    sketch = MinHash(_PERMUTATIONS, hashfunc=int)
    for start in range(0, len(shingles), 4096):  # each chunk times the permutations is in memory at once
        sketch.update_batch(shingles[start : start + 4096].tolist())
    return sketch


def _similarity(first: npt.NDArray[np.uint32], second: npt.NDArray[np.uint32]) -> float:
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
