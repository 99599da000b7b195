"""What need not be read again of a document to whose end text was added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simmim.errors import CheckpointError
from simmim.reading.folder import checksum, open_array
from simmim.reading.indexing import GROUP
from simmim.reading.manifest import Document, Manifest
from simmim.reading.opened import OpenDocument
from simmim.reading.outline import with_headings
from simmim.reading.quantized import Rows
from simmim.reading.sentences import sentences
from simmim.reading.tokens import Tokens

__all__ = ["grown"]


def grown(
    folder: Path, manifest: Manifest, new: Document, text: str, tokens: Tokens, keys: tuple[int, int], width: int
) -> tuple[int, Document] | None:
    """Find the document of the same name whose text a new one begins with, and say how much of its files stays.

    What stays is what a new reading would write, to the bit: whole chunks of tokens, and whole groups of vectors of
    texts that are the same.

    Args:
        folder: the folder.
        manifest: of the folder.
        new: what it would say of the new document.
        text: of the new document.
        tokens: likewise.
        keys: heads of keys in the index, and their width.
        width: E, of the vectors; 0 without an encoder.

    Returns:
        The number of that document and what the manifest says of it now; None if there is none.

    Raises:
        CheckpointError: a file of that document is damaged.
    """
    length, chunk = int(manifest.settings["segment"]), int(manifest.settings["chunk"])
    for number, about in enumerate(manifest.documents):
        if about.name != new.name or not about.read:
            continue
        old = OpenDocument(folder, number, about, length)
        try:
            before = np.stack([old.tokens.ids, old.tokens.starts])
            if not text.startswith(old.text):
                continue
        except CheckpointError:
            if about.embedded:
                raise
            continue  # begun, and its text and tokens were never written
        same = _common(before, np.stack([tokens.ids, tokens.starts]))
        read = min(same, about.read) // chunk * chunk
        kept = replace(new, read=read)
        _keep(folder, number, about, kept, "index", Rows(keys[1]).dtype, keys[0], (about.read, read))
        if width:
            # a segment has a vector with the half of the next one
            segments = min((same - 1 - length // 2) // length, about.vectors) // GROUP * GROUP
            same_texts = _leading(_texts(old.text, about), _texts(text, new))
            _keep(folder, number, about, kept, "vectors", Rows(width).dtype, 1, (about.vectors, segments))
            count = min(same_texts, about.sentences) // GROUP * GROUP
            _keep(folder, number, about, kept, "sentences", Rows(width).dtype, 1, (about.sentences, count))
            kept.vectors, kept.sentences = max(segments, 0), count
        return number, kept
    return None


def _texts(text: str, about: Document) -> list[str]:
    return with_headings(text, sentences(text), about.known_headings)


def _leading(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many first texts of two lists are the same: a line that comes again may turn out to be no heading."""
    return next(
        (i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Return how many first columns of two arrays are the same."""
    count = min(one.shape[1], other.shape[1])
    differ = (one[:, :count] != other[:, :count]).any(0)
    return int(differ.argmax()) if differ.any() else count


def _keep(
    folder: Path, number: int, old: Document, new: Document, ending: str, dtype: Any, each: int, rows: Sequence[int]
) -> None:
    """Check the rows of a file and note the checksum of the first of them, which stay."""
    content = open_array(folder / f"{number:04}.{ending}", dtype, (rows[0], each), old.checks.get(ending, -1))
    new.checks[ending] = checksum(content[: max(rows[1], 0)])
