"""Writes the indexes of documents that were read: vectors of segments and sentences, and the words of segments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simmim.atomic import replaced_folder
from simmim.reading.embedding import Encoder
from simmim.reading.folder import named
from simmim.reading.lexical import LexicalIndex
from simmim.reading.manifest import Document, Manifest, extend, write_manifest
from simmim.reading.opened import WORDS, OpenDocument
from simmim.reading.outline import with_headings
from simmim.reading.quantized import Rows
from simmim.reading.sentences import sentences

__all__ = ["GROUP", "waiting", "write_vectors", "write_words"]

GROUP = 256
"""Vectors that are written at once; a reading that is interrupted goes on behind the last group."""


def write_vectors(encoder: Encoder, folder: Path, manifest: Manifest, number: int) -> None:
    """Write a vector of each segment with half of its neighbours, then one of each sentence with its headings.

    A segment alone may begin amid a thought; a sentence alone may lack its subject, which a heading often names. Each
    finds what the other misses.
    """
    about = manifest.documents[number]
    document = OpenDocument(folder, number, about, int(manifest.settings["segment"]))
    spans = list(sentences(document.text))
    extend(folder, number, about, "owners", _owners(document, spans).tobytes(), 0)
    _write(encoder, folder, manifest, number, "vectors", document.surroundings())
    _write(encoder, folder, manifest, number, "sentences", with_headings(document.text, spans, about.known_headings))


def _owners(document: OpenDocument, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the first and the last segment of each sentence, int32, [n, 2]."""
    begins = np.array([document.span(i, i)[0] for i in range(document.segments)])
    ends = np.array(spans, dtype=np.int64).reshape(-1, 2) - [0, 1]
    return np.maximum(np.searchsorted(begins, ends, "right") - 1, 0).astype(np.int32)


def _write(encoder: Encoder, folder: Path, manifest: Manifest, number: int, kind: str, texts: Sequence[str]) -> None:
    about, rows = manifest.documents[number], Rows(encoder.width)
    while (done := getattr(about, kind)) < len(texts):
        vectors = encoder.encode(texts[done : done + GROUP])
        extend(folder, number, about, kind, rows.encode(vectors), done * rows.nbytes)
        setattr(about, kind, done + len(vectors))
        write_manifest(folder, manifest)


def write_words(folder: Path, manifest: Manifest) -> None:
    """Index the words of all segments of all documents, and note that it holds those that were read to their ends.

    Cost: one pass over all words; about two seconds for 100,000 tokens.
    """
    length = int(manifest.settings["segment"])
    texts: list[str] = []
    for number, about in enumerate(manifest.documents):
        texts += OpenDocument(folder, number, about, length).surroundings()
    path, index = folder / WORDS, LexicalIndex.build(texts)
    with replaced_folder(path) as draft:
        try:
            manifest.words = index.save(draft)
        except OSError as error:
            raise named(error, path) from error
    for about in manifest.documents:
        about.indexed = about.embedded
    write_manifest(folder, manifest)


def waiting(document: Document) -> bool:
    """Tell whether a document was read, and the index of words does not hold it yet."""
    return document.embedded and not document.indexed
