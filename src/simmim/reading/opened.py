"""An open folder of documents that were read: its segments, their texts, and the arrays of its index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from simmim.errors import CheckpointError
from simmim.files import open_regular
from simmim.reading.folder import AGAIN, damaged, open_array
from simmim.reading.manifest import Document, Manifest
from simmim.reading.quantized import Record, Rows
from simmim.reading.tokens import Tokens

__all__ = ["WORDS", "OpenDocument", "OpenFolder", "Segment"]

WORDS = "words"
"""Name of the folder with the index of words."""


@dataclass(frozen=True, order=True)
class Segment:
    """A segment of a folder: the number of its document and its number there."""

    document: int
    number: int


class OpenDocument:
    """One document of a folder; its arrays are mapped into memory and read where they are used.

    Args:
        folder: the folder.
        number: of the document in it.
        document: what the manifest says of it.
        segment: L, tokens of a segment.
    """

    def __init__(self, folder: Path, number: int, document: Document, segment: int) -> None:
        self._stem, self.about, self._segment = f"{folder / f'{number:04}'}", document, segment
        self.segments = -(-document.tokens // segment)
        self._seen: set[str] = set()

    @cached_property
    def text(self) -> str:
        """Return the whole text.

        Raises:
            CheckpointError: it is not the text that was read.
        """
        try:
            with open_regular(Path(f"{self._stem}.text")) as stream:
                content = stream.read()
            text = content.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{self._stem}.text: {error}; {AGAIN}") from error
        if len(text) != self.about.characters or hashlib.sha256(content).hexdigest() != self.about.sha256:
            raise CheckpointError(
                f"{self._stem}.text: expected the text that was read, {self.about.characters:,} characters, got "
                f"another one of {len(text):,}; {AGAIN}"
            )
        return text

    @cached_property
    def tokens(self) -> Tokens:
        """Return the tokens and where they stand.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = Path(f"{self._stem}.tokens")
        ids, starts = self._checked("tokens", np.int32, (2, self.about.tokens))
        rising = bool((np.diff(starts) >= 0).all()) and starts[0] >= 0 and starts[-1] <= self.about.characters
        if not rising or ids.min() < 0:
            raise CheckpointError(f"{path}: expected tokens and their places in the text, got other numbers; {AGAIN}")
        return Tokens(ids, starts, self.about.prompt)

    def kept(self, record: Record, number: int, dtype: torch.dtype) -> Float[Tensor, "layers 2 G n D"]:
        """Return the keys and values of a segment; n is L, or fewer for the last one.

        Raises:
            CheckpointError: the record is damaged.
        """
        path = Path(f"{self._stem}.keys")
        content = np.asarray(open_array(path, np.uint8, (self.segments, record.nbytes))[number])
        if not record.intact(content):
            raise damaged(path)
        return record.decode(content, dtype)[..., : min(self._segment, self.about.tokens - number * self._segment), :]

    def index(self, heads: int, width: int) -> np.ndarray:
        """Return the keys of the index, [N, heads] of the type of `Rows(width)`.

        Raises:
            CheckpointError: the file is damaged.
        """
        return self._checked("index", Rows(width).dtype, (self.about.tokens, heads))

    def vectors(self, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the vectors of segments [S, E] and of sentences [n, E], float32, and the segments of each sentence.

        The latter are the first and the last one, int32, [n, 2].

        Raises:
            CheckpointError: a file is damaged.
        """
        rows, count, path = Rows(width), self.about.sentences, Path(f"{self._stem}.owners")
        segments = self._checked("vectors", rows.dtype, (self.segments,))
        sentences = self._checked("sentences", rows.dtype, (count,))
        owners = self._checked("owners", np.int32, (count, 2))
        if count and (owners.min() < 0 or owners.max() >= self.segments or (owners[:, 0] > owners[:, 1]).any()):
            raise CheckpointError(f"{path}: expected the segments of {count:,} sentences, got other numbers; {AGAIN}")
        return rows.decode(segments), rows.decode(sentences), owners

    def _checked(self, ending: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Map a file into memory; the first time all of it is read and its checksum compared.

        Raises:
            CheckpointError: the file is damaged.
        """
        check = self.about.checks.get(ending, -1) if ending not in self._seen else None
        found = open_array(Path(f"{self._stem}.{ending}"), dtype, shape, check)
        self._seen.add(ending)
        return found

    def check(self, ending: str, values: np.ndarray) -> None:
        """Raise if numbers that were computed from a file are not finite, as a model's are.

        Args:
            ending: of the file's name.
            values: what was computed.

        Raises:
            CheckpointError: they are not; the error names the file.
        """
        if not np.isfinite(values).all():
            raise CheckpointError(f"{self._stem}.{ending}: expected finite numbers, it holds others; {AGAIN}")

    def ids(self, number: int) -> np.ndarray:
        """Return the tokens of a segment, int32; the last segment may be short."""
        return self.tokens.ids[number * self._segment : (number + 1) * self._segment]

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return the characters of segments `first` to `last`, the last included."""
        end = min((last + 1) * self._segment, self.about.tokens)
        return self.tokens.span(first * self._segment, end, self.about.characters)

    def surroundings(self) -> list[str]:
        """Return the text of each segment with the nearer half of the segments beside it."""
        half, texts = self._segment // 2, []
        for number in range(self.segments):
            begin = max(number * self._segment - half, 0)
            end = min((number + 1) * self._segment + half, self.about.tokens)
            first, last = self.tokens.span(begin, end, self.about.characters)
            texts.append(self.text[first:last])
        return texts


class OpenFolder:
    """All documents of a folder, whose segments are numbered through.

    Args:
        folder: what `Reader.read` wrote.
        manifest: its manifest.

    Raises:
        CheckpointError: a document was not read to its end, or there is none.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        if not manifest.documents:
            raise CheckpointError(f"{folder}: expected a document that was read, it holds none; read one into it")
        for document in manifest.documents:
            if not document.indexed:
                raise CheckpointError(
                    f"{folder}: {document.name} was read to token {document.read:,} of {document.tokens:,}; "
                    "run simmim read again to go on"
                )
        self.folder, self.manifest = folder, manifest
        length = int(manifest.settings["segment"])
        self.documents = [OpenDocument(folder, i, about, length) for i, about in enumerate(manifest.documents)]
        self.starts = np.cumsum([0, *(document.segments for document in self.documents)])

    @property
    def segments(self) -> int:
        """Return how many segments there are."""
        return int(self.starts[-1])

    @property
    def tokens(self) -> int:
        """Return how many tokens there are."""
        return sum(document.about.tokens for document in self.documents)

    def locate(self, number: int) -> Segment:
        """Return the document of a segment that is numbered through, and its number there."""
        document = int(np.searchsorted(self.starts, number, side="right")) - 1
        return Segment(document, number - int(self.starts[document]))
