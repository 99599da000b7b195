"""What a folder says of itself: the model and the settings that made it, and how much of each file counts."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simmim.atomic import replaced_file
from simmim.errors import CheckpointError
from simmim.files import read_regular_text
from simmim.reading.folder import AGAIN, append, checksum

__all__ = ["FORMAT", "Document", "Manifest", "beside", "extend", "read_manifest", "write_manifest"]

FORMAT = "simmim-reading-3"
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
        headings: index of the first character of each heading, and its level, if the format gives them.
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
    headings: list[list[int]] = field(default_factory=list)
    checks: dict[str, int] = field(default_factory=dict)

    @property
    def known_headings(self) -> dict[int, int]:
        """Level of each heading, by the index of its first character."""
        return {one[0]: one[1] for one in self.headings}


@dataclass
class Manifest:
    """What made a folder: files of another model, tokenizer or setting do not go together with it.

    Attributes:
        model: fingerprint of the model's folder, tokenizer and template included.
        source: what the user named to get the model; None for the default.
        settings: those of the reader that change what is in the files.
        documents: in the order in which they were read.
        words: checksums of the files of the index of words.
        beside: path of the model from the folder, for both may be moved together; None if `source` is no path.
    """

    model: str
    source: str | None
    settings: dict[str, Any]
    documents: list[Document] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)
    beside: str | None = None


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
            **{name: content[name] for name in ("model", "source", "beside")},
            settings=dict(content["settings"]),
            documents=documents,
            words=_checks(content["words"]),
        )
        if not isinstance(manifest.model, str) or not all(
            isinstance(name, str | None) for name in (manifest.source, manifest.beside)
        ):
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
    for one in document.headings:
        if not (isinstance(one, list) and len(one) == 2 and all(type(number) is int for number in one)):
            raise ValueError(f"document {document.name!r}: {one!r} is no heading")
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


def beside(folder: Path, source: str | None) -> str | None:
    """Return the path of a model from a folder; None for one that is no path, or is on another drive."""
    try:
        return os.path.relpath(source, folder) if source is not None and Path(source).exists() else None
    except ValueError:
        return None


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
    check = checksum(content, about.checks.get(ending, 0) if position else 0)
    about.checks = dict(sorted({**about.checks, ending: check}.items()))
