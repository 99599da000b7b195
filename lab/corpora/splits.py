"""Cut a corpus into train, validation and test by group, and drop what occurs more than once."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from simmim.data.corpora import SPLITS, Row
from simmim.data.near_duplicates import near_duplicates, normalise

__all__ = ["Pair", "R", "Text", "drop_near_duplicates", "split_of", "split_pairs"]

R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Pair:
    """A document and its summary.

    Attributes:
        document: The text to read.
        summary: The text to write.
        group: What the document belongs to; a group is never divided between splits.
        name: The document's own name.
    """

    document: str
    summary: str
    group: str
    name: str

    @property
    def texts(self) -> tuple[str, ...]:
        """Document and summary."""
        return self.document, self.summary

    @classmethod
    def describe(cls, rows: Sequence[Row]) -> dict[str, object]:
        """Return counts, mean lengths in words, and how many summaries occur in their documents."""
        pairs = [row.texts for row in rows]
        return {
            "pairs": len(pairs),
            "groups": len({row.group for row in rows}),
            "mean_document_words": _mean_words(document for document, _ in pairs),
            "mean_summary_words": _mean_words(summary for _, summary in pairs),
            "summary_occurs_in_document": sum(normalise(summary) in normalise(document) for document, summary in pairs),
        }


@dataclass(frozen=True)
class Text:
    """A document to learn language from.

    Attributes:
        text: The whole text.
        group: As of a pair.
        name: The document's own name.
    """

    text: str
    group: str
    name: str

    @property
    def texts(self) -> tuple[str, ...]:
        """The text alone."""
        return (self.text,)

    @classmethod
    def describe(cls, rows: Sequence[Row]) -> dict[str, object]:
        """Return counts, and lengths in words and bytes."""
        texts = [row.texts[0] for row in rows]
        return {
            "texts": len(texts),
            "groups": len({row.group for row in rows}),
            "mean_words": _mean_words(texts),
            "bytes": sum(len(text.encode()) for text in texts),
        }


def _mean_words(texts: Iterable[str]) -> float:
    counts = [len(text.split()) for text in texts]
    return round(sum(counts) / max(len(counts), 1), 2)


def split_of(group: str) -> str:
    """Return the split of a group: 90 % train, 5 % validation, 5 % test, by the hash of its name alone."""
    share = int.from_bytes(hashlib.sha256(group.encode("utf-8")).digest()[:8], "big") / 2**64
    return "train" if share < 0.90 else "validation" if share < 0.95 else "test"


def split_pairs(pairs: Iterable[R], dropped: Counter[str]) -> dict[str, list[R]]:
    """Split pairs, or other rows, by group and drop repeated ones and documents that occur in more than one split.

    Repeated rows keep their first occurrence. A document (normalised) of train that also occurs in validation or
    test leaves train, and one of validation that occurs in test leaves validation; test loses nothing to the others.

    Args:
        pairs: The rows of the whole corpus.
        dropped: Gains the number of rows dropped, by reason.

    Returns:
        The rows of each split, in the order in which they came.
    """
    splits: dict[str, list[R]] = {split: [] for split in SPLITS}
    seen_exactly: set[tuple[str, ...]] = set()
    for pair in pairs:
        if pair.texts in seen_exactly:
            dropped[f"exact duplicate {type(pair).__name__.lower()}"] += 1
            continue
        seen_exactly.add(pair.texts)
        splits[split_of(pair.group)].append(pair)

    taken: dict[str, str] = {}  # normalised document -> the split that holds it, test first
    for split in reversed(SPLITS):
        kept: list[R] = []
        seen: set[tuple[str, ...]] = set()
        for pair in splits[split]:
            document, *others = map(normalise, pair.texts)
            if taken.setdefault(document, split) != split:
                dropped[f"document of {split} occurs in {taken[document]}"] += 1
            elif (document, *others) in seen:
                dropped[f"repeated {type(pair).__name__.lower()} within {split}, normalised"] += 1
            else:
                seen.add((document, *others))
                kept.append(pair)
        splits[split] = kept
    return splits


def drop_near_duplicates(splits: dict[str, list[R]], dropped: Counter[str]) -> dict[str, list[R]]:
    """Take out of validation what is nearly in test, and out of train what is nearly in validation or test.

    Args:
        splits: The rows of each split.
        dropped: Gains the number of rows dropped, by reason.

    Returns:
        The rows that are left; those of test are.
    """
    left = dict(splits)
    for split, held_out in (("validation", ("test",)), ("train", ("test", "validation"))):
        documents = [row.texts[0] for name in held_out for row in left[name]]
        near = {place for _, place in near_duplicates(documents, [row.texts[0] for row in left[split]])}
        left[split] = [pair for place, pair in enumerate(left[split]) if place not in near]
        dropped[f"document of {split} is nearly one of {' or '.join(held_out)}"] += len(near)
    return left
