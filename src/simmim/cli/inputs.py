"""Finds and reads the documents that a command is given: files, patterns, folders and standard input."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simmim.cli.documents import SUFFIXES
from simmim.errors import DataError

__all__ = ["STANDARD_INPUT", "Content", "Found", "find_documents", "read_content"]

STANDARD_INPUT = "-"


@dataclass
class Found:
    """Holds what a command's arguments name.

    Attributes:
        names: files, each once, and `-` for standard input.
        errors: arguments, and folders in them, that name nothing which can be read.
        notes: what a folder holds beside documents.
    """

    names: list[str] = field(default_factory=list)
    errors: list[DataError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Content:
    """Holds the bytes of a document and their digest."""

    content: bytes
    sha256: str


def find_documents(arguments: Sequence[str], leave_out: Path | None = None) -> Found:
    """Find the documents that arguments name.

    A file is taken whatever its name; a folder stands for the files in it and in its folders whose names end as those
    of documents do, hidden ones left out; a pattern (`*`, `?`, `[...]`, `**` for folders of any depth) for what it
    matches.

    Args:
        arguments: files, folders, patterns, and `-`.
        leave_out: a folder whose files are no documents, such as the one that results are written to.
    """
    found = Found()
    for argument in arguments:
        paths = [argument]
        if glob.has_magic(argument) and not os.path.lexists(argument):
            paths = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207  (Path takes no absolute patterns)
            if not paths:
                found.errors.append(DataError(f"{argument}: expected a pattern that matches files, it matches none"))
        for path in paths:
            if path != STANDARD_INPUT and Path(path).is_dir():
                _search(path, leave_out, found)
            else:
                found.names.append(path if path == STANDARD_INPUT else os.path.normpath(path))
    found.names = list(dict.fromkeys(found.names))
    return found


def _search(folder: str, leave_out: Path | None, found: Found) -> None:
    """Add the documents of a folder, in the order of their names."""
    before, others = len(found.names), Counter[str]()

    def failed(error: OSError) -> None:
        found.errors.append(DataError(f"{error.filename}: cannot read the folder: {error.strerror}"))

    errors = len(found.errors)
    for parent, folders, files in os.walk(folder, onerror=failed):
        kept = (name for name in folders if not name.startswith("."))
        folders[:] = sorted(name for name in kept if leave_out is None or not _same(Path(parent, name), leave_out))
        for name in sorted(name for name in files if not name.startswith(".")):
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES:
                found.names.append(os.path.normpath(Path(parent, name)))
            elif leave_out is None or not _same(Path(parent, name), leave_out):
                others[suffix or "no suffix"] += 1
    if others:
        kinds = ", ".join(f"{count:,} × {suffix}" for suffix, count in others.most_common(5))
        more = ", …" if len(others) > 5 else ""
        found.notes.append(
            f"{folder}: left out what is no document by its name: {kinds}{more}; name files to read them"
        )
    if len(found.names) == before and len(found.errors) == errors:
        kinds = " ".join(SUFFIXES)
        found.errors.append(DataError(f"{folder}: expected a folder with documents ({kinds}), it holds none"))


def _same(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()


def read_content(name: str) -> Content:
    """Read a document's bytes.

    Args:
        name: a file, or `-` for standard input.

    Raises:
        DataError: it cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
    except OSError as error:
        raise DataError(f"{name}: expected a text file, cannot read it: {error.strerror}") from error
    return Content(content, hashlib.sha256(content).hexdigest())
