"""A document that was read, on disk: its text, its tokens, its index, its keys and values, and what made them."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simmim.atomic import replaced_file
from simmim.errors import CheckpointError
from simmim.files import read_regular_text

__all__ = [
    "AGAIN",
    "FORMAT",
    "Document",
    "Manifest",
    "append",
    "checksum",
    "content_of",
    "damaged",
    "extend",
    "locked",
    "named",
    "open_array",
    "read_manifest",
    "write_manifest",
]

FORMAT = "simmim-reading-2"
AGAIN = "read the documents again into a new folder"
"""What to do about a damaged file: a document that a folder holds is not read again into it."""
_NAME = "manifest.json"
_LARGEST = 2**40
"""No count in a manifest is larger: a document of so many tokens would be read for years."""


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
        vectors: of segments that were written.
        sentences: likewise vectors of sentences.
        embedded: whether it was read to its end, and all vectors were written.
        indexed: whether the index of words holds it, too: it can be asked.
        pages: index of the first character of each page; empty if there are none.
        checks: checksums of its other files, by their endings.
    """

    name: str
    sha256: str
    characters: int
    tokens: int
    read: int = 0
    prompt: int = 0
    vectors: int = 0
    sentences: int = 0
    embedded: bool = False
    indexed: bool = False
    pages: list[int] = field(default_factory=list)
    checks: dict[str, int] = field(default_factory=dict)


@dataclass
class Manifest:
    """What made a folder: files of another model, tokenizer or setting do not go together with it.

    Attributes:
        model: fingerprint of the model's folder, tokenizer and template included.
        source: what the user named to get the model; None for the default.
        settings: those of the reader that change what is in the files.
        documents: in the order in which they were read.
        words: checksums of the files of the index of words.
    """

    model: str
    source: str | None
    settings: dict[str, Any]
    documents: list[Document] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest, which says how much of each file counts."""
    content = {"format": FORMAT, **asdict(manifest)}
    with replaced_file(folder / _NAME) as stream:
        json.dump({**content, "check": checksum(_canonical(content))}, stream, ensure_ascii=False, indent=1)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder.

    Raises:
        CheckpointError: the folder or its manifest is missing, damaged or of another format.
    """
    path = folder / _NAME
    try:
        content = json.loads(read_regular_text(path))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: expected the folder of a document that was read, it has no {_NAME}; make one with: "
            f"simmim read FILE -o {folder}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected a manifest in JSON, cannot read it: {error}; {AGAIN}") from error
    try:
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path}: expected format {FORMAT}, got {content['format']!r}; {AGAIN}")
        if content.pop("check") != checksum(_canonical(content)):
            raise ValueError("its checksum is another one")
        documents = [Document(**document) for document in content["documents"]]
        manifest = Manifest(
            content["model"], content["source"], dict(content["settings"]), documents, _checks(content["words"])
        )
        if not isinstance(manifest.model, str) or not isinstance(manifest.source, str | None):
            raise ValueError(f"model {manifest.model!r} and source {manifest.source!r} are no names")
        for document in documents:
            _check(document)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{path}: expected the manifest of a reading: {reason}; {AGAIN}") from error
    return manifest


def _check(document: Document) -> None:
    """Raise if numbers of a document cannot belong together.

    Raises:
        ValueError: they cannot.
    """
    if not isinstance(document.name, str) or not isinstance(document.sha256, str):
        raise ValueError(f"document {document.name!r}: its name and its digest are no texts")
    for name in ("characters", "tokens", "read", "prompt", "sentences", "vectors"):
        value = getattr(document, name)
        if type(value) is not int or not 0 <= value <= _LARGEST:
            raise ValueError(f"document {document.name!r}: {name} is {value!r}")
    if document.read > document.tokens or document.prompt >= document.tokens:
        raise ValueError(
            f"document {document.name!r}: read {document.read} and prompt {document.prompt} of {document.tokens} tokens"
        )
    for name in ("embedded", "indexed"):
        if type(getattr(document, name)) is not bool:
            raise ValueError(f"document {document.name!r}: {name} is {getattr(document, name)!r}")
    if document.embedded > (document.read == document.tokens) or document.indexed > document.embedded:
        raise ValueError(f"document {document.name!r}: it has an index, and was not read to its end")
    if not all(type(page) is int and 0 <= page <= document.characters for page in document.pages):
        raise ValueError(f"document {document.name!r}: a page begins outside its {document.characters} characters")
    if sorted(document.pages) != list(document.pages):
        raise ValueError(f"document {document.name!r}: its pages are not in order")
    _checks(document.checks)


def _checks(found: dict[str, int]) -> dict[str, int]:
    """Return checksums by names of files.

    Raises:
        ValueError: they are none.
    """
    if not all(type(check) is int for check in found.values()):
        raise ValueError(f"checksums {found!r} are no numbers")
    return dict(found)


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def checksum(content: bytes | np.ndarray, before: int = 0) -> int:
    """Return the CRC-32 of bytes that follow others of a given one. Cost: about a second for 1 to 3 GB."""
    return zlib.crc32(content, before)


def extend(folder: Path, number: int, about: Document, ending: str, content: bytes, position: int) -> None:
    """Write at a position of a document's file, as `append` does, and note the file's checksum.

    Args:
        folder: the folder.
        number: of the document.
        about: what the manifest says of it; the checksum in it is that of the file's first `position` bytes.
        ending: of the file's name.
        content: what to write.
        position: where.
    """
    append(folder / f"{number:04}.{ending}", content, position)
    about.checks[ending] = checksum(content, about.checks.get(ending, 0) if position else 0)


def content_of(fingerprint: str | None) -> str | None:
    """Return the part of a fingerprint that names what a model computes, without the name of its folder."""
    return None if fingerprint is None else fingerprint.rpartition("@")[2]


def append(path: Path, content: bytes, position: int) -> None:
    """Write at a position of a file, behind which nothing counts, and wait for the disk.

    Raises:
        CheckpointError: the file ends before that position: a part of it was lost.
        OSError: the file cannot be written; the error names it.
    """
    size = path.stat().st_size if path.exists() else 0
    if size < position:
        raise CheckpointError(f"{path}: expected {position:,} bytes of an earlier reading, it has {size:,}; {AGAIN}")
    try:
        with path.open("r+b" if path.exists() else "wb") as stream:
            stream.truncate(position)
            stream.seek(position)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def named(error: Exception, path: Path) -> OSError:
    """Return an error of the system about a file, from one that does not name it: safetensors and numpy raise such."""
    found = re.search(r"os error (\d+)", str(error))
    code = getattr(error, "errno", None) or (int(found[1]) if found else errno.EIO)
    return OSError(code, os.strerror(code), str(path))


def open_array(path: Path, dtype: Any, shape: tuple[int, ...], check: int | None = None) -> np.ndarray:
    """Map a file into memory; nothing is read before it is used.

    Args:
        path: of the file.
        dtype: of its numbers.
        shape: of the array; what follows it in the file does not count.
        check: checksum of the array, for which all of it is read; None for no check.

    Raises:
        CheckpointError: the file is missing, smaller than the manifest says, or damaged.
    """
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; {AGAIN}") from error
    if size < needed:
        raise CheckpointError(f"{path}: expected {needed:,} bytes, it has {size:,}; {AGAIN}")
    if needed == 0:
        return np.zeros(shape, dtype)
    try:
        found = np.memmap(path, dtype, "r", shape=shape)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot map it into memory: {error}; {AGAIN}") from error
    if check is not None and checksum(found) != check:
        raise damaged(path)
    return found


def damaged(path: Path) -> CheckpointError:
    """Return the error about a file with another checksum."""
    return CheckpointError(f"{path}: expected the content that was written, its checksum is another one; {AGAIN}")


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
        except BlockingIOError as error:
            raise CheckpointError(
                f"{folder}: another process reads into it; wait for it or name another folder"
            ) from error
        yield
