"""Finds and reads the documents that a command is given: files, patterns, folders and standard input."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simmim.cli.documents import SUFFIXES
from simmim.errors import DataError
from simmim.tasks.process_memory import free_memory

__all__ = ["STANDARD_INPUT", "Content", "Found", "find_documents", "read_content"]

STANDARD_INPUT = "-"
_OPEN_PIPES = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")  # such as `<(command)`: another process writes into them
_MEMORY_PER_BYTE = 3  # of a document: its bytes, and its text in the widest characters that are common


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


def find_documents(
    arguments: Sequence[str], leave_out: Path | None = None, suffixes: Sequence[str] = SUFFIXES
) -> Found:
    """Find the documents that arguments name.

    A file is taken whatever its name; a folder stands for the files in it and in its folders whose names end as those
    of documents do, hidden ones left out; a pattern (`*`, `?`, `[...]`, `**` for folders of any depth) for what it
    matches.

    Args:
        arguments: files, folders, patterns, and `-`.
        leave_out: a folder whose files are no documents, such as the one that results are written to.
        suffixes: ends of the names of the files that are taken where a folder is named.
    """
    found = Found()
    for argument in arguments:
        paths = [argument]
        if glob.has_magic(argument) and not os.path.lexists(argument):
            paths = sorted(dict.fromkeys(_matches(argument)))
            if not paths:
                found.errors.append(DataError(f"{argument}: expected a pattern that matches files, it matches none"))
        for path in paths:
            if path != STANDARD_INPUT and os.path.isdir(path):  # noqa: PTH112  (which raises nothing, whatever the name)
                _search(path, leave_out, suffixes, found)
            else:
                found.names.append(path if path == STANDARD_INPUT else os.path.normpath(path))
    found.names = list(dict.fromkeys(found.names))
    return found


def _matches(pattern: str) -> Iterator[str]:
    """Give the files and folders that match a pattern; unlike glob, `**` follows no links, which may form a circle."""
    parts = pattern.replace(os.sep, "/").split("/")
    if "**" not in parts:
        yield from glob.glob(pattern)  # noqa: PTH207  (Path takes no absolute patterns)
        return
    index = parts.index("**")
    beginning, rest = "/".join(parts[:index]), [part for part in parts[index + 1 :] if part]
    while rest[:1] == ["**"]:
        del rest[0]
    roots = [beginning] if not glob.has_magic(beginning) else glob.glob(beginning)  # noqa: PTH207
    for root in roots:
        for parent, folders, files in os.walk(root or ("/" if index else ".")):
            folders[:] = (name for name in folders if not name.startswith("."))
            if rest:
                yield from _matches("/".join([glob.escape(parent), *rest]))
            else:
                yield from (f"{parent}/{name}" for name in files if not name.startswith("."))


def _search(folder: str, leave_out: Path | None, suffixes: Sequence[str], found: Found) -> None:
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
            if suffix in suffixes:
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
        kinds = " ".join(suffixes)
        found.errors.append(DataError(f"{folder}: expected a folder with documents ({kinds}), it holds none"))


def _same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def read_content(name: str) -> Content:
    """Read a document's bytes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if name != STANDARD_INPUT:
            _check_file(name)
        content = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
    except DataError:
        raise
    except (OSError, ValueError) as error:  # a name with a NUL character is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{name}: expected a text file, cannot read it: {reason}") from error
    except MemoryError as error:
        raise DataError(f"{name}: expected a document that fits into memory; read it in parts") from error
    return Content(content, hashlib.sha256(content).hexdigest())


def _check_file(name: str) -> None:
    """Refuse what would have us wait for ever, and what is larger than the memory that is left.

    Raises:
        DataError: it is no regular file, or too large.
        OSError: there is no such file.
    """
    found = Path(name).stat()
    if stat.S_ISFIFO(found.st_mode) and name.startswith(_OPEN_PIPES):
        return
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
        kind = next((kind for is_one, kind in kinds.items() if is_one(found.st_mode)), "a device")
        raise DataError(f"{name}: expected a text file, cannot read it: it is {kind}; - reads standard input")
    free = free_memory()
    needed = _MEMORY_PER_BYTE * found.st_size / 2**20
    if free is not None and needed > free:
        raise DataError(
            f"{name}: expected a document that fits into memory, {found.st_size:,} bytes need {needed:,.0f} MiB "
            f"or more and {free:,.0f} MiB are free; read it in parts"
        )
