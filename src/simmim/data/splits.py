"""Cut a corpus into train, validation and test by group, and drop what occurs more than once."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["SPLITS", "Pair", "normalise", "split_of", "split_pairs"]

SPLITS = ("train", "validation", "test")


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


def normalise(text: str) -> str:
    """Fold what does not make two texts different: case, digits (all become 0) and white space."""
    return " ".join(re.sub(r"\d", "0", text.lower()).split())


def split_of(group: str) -> str:
    """Return the split of a group: 90 % train, 5 % validation, 5 % test, by the hash of its name alone."""
    share = int.from_bytes(hashlib.sha256(group.encode("utf-8")).digest()[:8], "big") / 2**64
    return "train" if share < 0.90 else "validation" if share < 0.95 else "test"


def split_pairs(pairs: Iterable[Pair], dropped: Counter[str]) -> dict[str, list[Pair]]:
    """Split pairs by group and drop repeated pairs and documents that occur in more than one split.

    Repeated pairs keep their first occurrence. A document (normalised) of train that also occurs in validation or
    test leaves train, and one of validation that occurs in test leaves validation; test loses nothing to the others.

    Args:
        pairs: The pairs of the whole corpus.
        dropped: Gains the number of pairs dropped, by reason.

    Returns:
        The pairs of each split, in the order in which they came.
    """
    splits: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    seen_exactly: set[tuple[str, str]] = set()
    for pair in pairs:
        texts = (pair.document, pair.summary)
        if texts in seen_exactly:
            dropped["exact duplicate pair"] += 1
            continue
        seen_exactly.add(texts)
        splits[split_of(pair.group)].append(pair)

    taken: dict[str, str] = {}  # normalised document -> the split that holds it, test first
    for split in reversed(SPLITS):
        kept: list[Pair] = []
        seen: set[tuple[str, str]] = set()
        for pair in splits[split]:
            document, summary = normalise(pair.document), normalise(pair.summary)
            if taken.setdefault(document, split) != split:
                dropped[f"document of {split} occurs in {taken[document]}"] += 1
            elif (document, summary) in seen:
                dropped[f"repeated pair within {split}, normalised"] += 1
            else:
                seen.add((document, summary))
                kept.append(pair)
        splits[split] = kept
    return splits
