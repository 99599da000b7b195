"""A document that was read, on disk: its text, its tokens, its index, its keys and values, and what made them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simmim.atomic import replaced_file
from simmim.errors import CheckpointError

__all__ = ["FORMAT", "Document", "Manifest", "append", "locked", "open_array", "read_manifest", "write_manifest"]

FORMAT = "simmim-reading-1"
_NAME = "manifest.json"


@dataclass
class Document:
    """One text of a folder; its files begin with its number.

    Attributes:
        name: of the file that it came from.
        sha256: of the text.
        characters: of the text.
        tokens: of the text and of what stands before it.
        read: tokens that were read so far.
        prompt: tokens that stand before the text.
        sentences: that the text has; 0 before they were counted, or without an encoder.
        vectors: that were written, those of segments before those of sentences.
        indexed: whether the index of words holds it.
        pages: index of the first character of each page; empty if there are none.
    """

    name: str
    sha256: str
    characters: int
    tokens: int
    read: int = 0
    prompt: int = 0
    sentences: int = 0
    vectors: int = 0
    indexed: bool = False
    pages: list[int] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Tell whether the text was read to its end, and all indexes hold it."""
        return self.read == self.tokens and self.indexed


@dataclass
class Manifest:
    """What made a folder: files of another model, tokenizer or setting do not go together with it.

    Attributes:
        model: fingerprint of the model's folder, tokenizer and template included.
        source: what the user named to get the model; None for the default.
        settings: those of the reader that change what is in the files.
        documents: in the order in which they were read.
    """

    model: str
    source: str | None
    settings: dict[str, Any]
    documents: list[Document] = field(default_factory=list)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest, which says how much of each file counts."""
    with replaced_file(folder / _NAME) as stream:
        json.dump({"format": FORMAT, **asdict(manifest)}, stream, ensure_ascii=False, indent=1)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder.

    Raises:
        CheckpointError: the folder or its manifest is missing, damaged or of another format.
    """
    path = folder / _NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: expected the folder of a document that was read, it has no {_NAME}; make one with: "
            f"simmim read FILE -o {folder}"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a manifest in JSON, cannot read it: {error}; read again") from error
    try:
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path}: expected format {FORMAT}, got {content['format']!r}; read again")
        documents = [Document(**document) for document in content["documents"]]
        manifest = Manifest(str(content["model"]), content["source"], dict(content["settings"]), documents)
        for document in documents:
            if not 0 <= document.read <= document.tokens or not isinstance(document.name, str):
                raise ValueError(f"document {document.name!r}: read {document.read} of {document.tokens} tokens")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a manifest of a read document: {error}; read again") from error
    return manifest


def append(path: Path, content: bytes, position: int) -> None:
    """Write at a position of a file, behind which nothing counts, and wait for the disk.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    try:
        with path.open("r+b" if path.exists() else "wb") as stream:
            stream.truncate(position)
            stream.seek(position)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def open_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Map a file into memory; nothing is read before it is used.

    Raises:
        CheckpointError: the file is missing, or smaller than the manifest says.
    """
    needed = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; read the document again") from error
    if size < needed:
        raise CheckpointError(f"{path}: expected {needed:,} bytes, it has {size:,}; read the document again")
    if needed == 0:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder.

    Raises:
        CheckpointError: another process reads into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            pass
        except OSError as error:
            raise CheckpointError(
                f"{folder}: another process reads into it; wait for it or name another folder"
            ) from error
        yield
