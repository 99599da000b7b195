"""Writes the indexes of a document that was read: vectors of segments and sentences, and the words of segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simmim.atomic import remove_folder, replaced_folder
from simmim.reading.embedding import Encoder
from simmim.reading.folder import Manifest, append, named, write_manifest
from simmim.reading.lexical import LexicalIndex
from simmim.reading.opened import OpenDocument
from simmim.reading.outline import with_headings
from simmim.reading.sentences import sentences

__all__ = ["words_path", "write_vectors", "write_words"]

_GROUP = 512
"""Vectors that are written at once; a reading that is interrupted goes on behind the last group."""


def write_vectors(encoder: Encoder, folder: Path, manifest: Manifest, number: int) -> None:
    """Write a vector of each segment with half of its neighbours, then one of each sentence with its headings.

    A segment alone may begin amid a thought; a sentence alone may lack its subject, which a heading often names. Each
    finds what the other misses.
    """
    about = manifest.documents[number]
    document = OpenDocument(folder, number, about, int(manifest.settings["segment"]))
    spans, owners = list(sentences(document.text)), []
    texts = document.surroundings() + with_headings(document.text, spans)
    begins = np.array([document.span(i, i)[0] for i in range(document.segments)])
    for begin, end in spans:
        first, last = np.searchsorted(begins, [begin, end - 1], "right") - 1
        owners.append((max(first, 0), max(last, 0)))
    append(folder / f"{number:04}.sentences", np.array(owners, dtype=np.int32).tobytes(), 0)
    about.sentences = len(owners)
    size = encoder.width * 2
    while about.vectors < len(texts):
        vectors = encoder.encode(texts[about.vectors : about.vectors + _GROUP])
        append(folder / f"{number:04}.vectors", vectors.astype(np.float16).tobytes(), about.vectors * size)
        about.vectors += len(vectors)
        write_manifest(folder, manifest)


def words_path(folder: Path, documents: int) -> Path:
    """Return the folder of the index of words over the first documents of a folder."""
    return folder / f"words-{documents}"


def write_words(folder: Path, manifest: Manifest) -> None:
    """Index the words of all segments of all documents."""
    length = int(manifest.settings["segment"])
    texts: list[str] = []
    for number, about in enumerate(manifest.documents):
        texts += OpenDocument(folder, number, about, length).surroundings()
    path, index = words_path(folder, len(manifest.documents)), LexicalIndex.build(texts)
    with replaced_folder(path) as draft:
        try:
            index.save(draft)
        except OSError as error:
            raise named(error, path) from error
    for count in range(1, len(manifest.documents)):
        if words_path(folder, count).exists():
            remove_folder(words_path(folder, count))
