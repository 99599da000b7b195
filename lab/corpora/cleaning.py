"""Turns the raw pairs of a corpus into splits that an evaluation can trust, and counts all that it drops."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from simmim.data.near_duplicates import drop_near_duplicates
from simmim.data.splits import SPLITS, Pair, R, Text, normalise, split_pairs
from simmim.errors import DataError

__all__ = ["fit_pairs", "fit_texts", "split_cleanly", "without_summary"]

_UNREADABLE = re.compile("[\0\ud800-\udfff]")


def fit_pairs(
    pairs: Iterable[Pair], dropped: Counter[str], *, summary_words: int, document_words: int
) -> Iterator[Pair]:
    """Pass on the pairs whose summary has to be written, not copied.

    Args:
        pairs: The pairs.
        dropped: Gains the number of pairs dropped, by reason.
        summary_words: The fewest words of a summary.
        document_words: The fewest words of a document.

    Yields:
        The pairs with readable texts of such length, and a summary that is shorter than the document and does not
        occur in it (case, digits and white space aside).
    """
    for pair in pairs:
        summary, document = len(pair.summary.split()), len(pair.document.split())
        if _UNREADABLE.search(pair.summary) or _UNREADABLE.search(pair.document):
            dropped["NUL character or half a character"] += 1
        elif summary < summary_words:
            dropped[f"summary of under {summary_words} words"] += 1
        elif document < document_words:
            dropped[f"document of under {document_words} words"] += 1
        elif summary >= document:
            dropped["summary as long as the document"] += 1
        elif normalise(pair.summary) in normalise(pair.document):
            dropped["summary occurs in the document"] += 1
        else:
            yield pair


def fit_texts(texts: Iterable[Text], dropped: Counter[str], *, words: int) -> Iterator[Text]:
    """Pass on the texts that are readable and long enough.

    Args:
        texts: The texts.
        dropped: Gains the number of texts dropped, by reason.
        words: The fewest words of a text.
    """
    for text in texts:
        if _UNREADABLE.search(text.text):
            dropped["NUL character or half a character"] += 1
        elif len(text.text.split()) < words:
            dropped[f"text of under {words} words"] += 1
        else:
            yield text


def split_cleanly(pairs: Iterable[R], dropped: Counter[str]) -> dict[str, list[R]]:
    """Split pairs or texts by group, without repeated and nearly repeated documents across splits.

    Args:
        pairs: The rows of the whole corpus.
        dropped: Gains the number of rows dropped, by reason.

    Returns:
        The rows of each split.

    Raises:
        DataError: A split is left without a row.
    """
    splits = drop_near_duplicates(split_pairs(pairs, dropped), dropped)
    empty = [split for split in SPLITS if not splits[split]]
    if empty:
        raise DataError(
            f"corpus: expected documents in every split, found none for {', '.join(empty)} (dropped: {dict(dropped)}). "
            "Check that its packages are in the package archive."
        )
    return splits


def without_summary(document: str, summary: str) -> str:
    """Take the sentences that hold the summary word for word out of a document.

    Args:
        document: The text; a paragraph is one line.
        summary: The summary; case, digits and white space do not matter.

    Returns:
        The document without such sentences.
    """
    target = normalise(summary)
    lines = []
    for line in document.split("\n"):
        if target in normalise(line):
            margin = line[: len(line) - len(line.lstrip())]
            line = margin + " ".join(
                part for part in re.split(r"(?<=[.!?])\s+", line.strip()) if target not in normalise(part)
            )
        lines.append(line)
    return "\n".join(lines)
