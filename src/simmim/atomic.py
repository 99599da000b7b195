"""Writes files and folders to a temporary path beside the final one and renames them, so that they are always whole."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from simmim.errors import CheckpointError

__all__ = [
    "locked",
    "make_parents",
    "remove_empty",
    "remove_folder",
    "remove_leftovers",
    "replaced_file",
    "replaced_folder",
    "replaced_path",
]

_SUFFIX = ".draft"


@contextmanager
def replaced_file(path: Path) -> Iterator[TextIO]:
    """Open a text file that is moved to its path once the block ends without an error.

    A path that cannot be written raises on entry.

    Args:
        path: the file to create or replace; missing parents are created, and removed if the block fails.

    Yields:
        A stream of UTF-8 text.

    Raises:
        OSError: the file cannot be created or written, for instance on a full disk; the error names it.
    """
    with (
        replaced_path(path) as draft,
        io.TextIOWrapper(io.BufferedWriter(_NamedFile(draft, path)), encoding="utf-8") as stream,
    ):
        yield stream


@contextmanager
def replaced_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file is moved to `path` once the block ends without an error.

    Args:
        path: the file to create or replace; missing parents are created, and removed if the block fails.

    Yields:
        The path to write to.

    Raises:
        OSError: the file cannot be created.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with _workshop(path) as workshop:
        draft = workshop / path.name
        yield draft
        _flush(draft)
        draft.replace(path)


class _NamedFile(io.FileIO):
    """A file whose write errors name the final path."""

    def __init__(self, draft: Path, path: Path) -> None:
        super().__init__(draft, "w")
        self._path = path

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Create an empty folder that is moved to `path` once the block ends without an error.

    Args:
        path: the folder to create or replace; missing parents are created, and removed if the block fails.

    Yields:
        The folder to write into.

    Raises:
        OSError: the folder cannot be created.
    """
    with _workshop(path) as workshop:
        draft = workshop / path.name
        draft.mkdir()
        yield draft
        for written in draft.rglob("*"):
            if written.is_file():
                _flush(written)
        if os.path.lexists(path):
            path.rename(workshop / "replaced")
        draft.rename(path)


def remove_folder(path: Path) -> None:
    """Remove a folder atomically: rename it, then delete it.

    Raises:
        OSError: the folder cannot be moved away.
    """
    with _workshop(path) as workshop:
        path.rename(workshop / path.name)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder."""
    for leftover in folder.glob(f".*{_SUFFIX}"):
        shutil.rmtree(leftover, ignore_errors=True)


def _flush(path: Path) -> None:
    """Write the contents of a file to disk before it is renamed."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _workshop(path: Path) -> Iterator[Path]:
    """Create a temporary folder beside a path, on the same file system, and remove it when the block ends."""
    made = make_parents(path)
    try:
        with _temporary_folder(path) as name:
            yield Path(name)
    except BaseException:
        remove_empty(made)
        raise


def make_parents(path: Path) -> list[Path]:
    """Create the missing parents of a path.

    Returns:
        The created folders, deepest first, for `remove_empty`.

    Raises:
        OSError: a folder cannot be created; the error names it.
    """
    missing: list[Path] = []
    for folder in path.parents:
        if os.path.exists(folder):  # noqa: PTH110  (raises nothing, for any name)
            break
        missing.append(folder)
    made: list[Path] = []
    for folder in reversed(missing):
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            remove_empty(made)
            raise OSError(error.errno, f"cannot make the folder: {error.strerror}", str(folder)) from error
        made.insert(0, folder)
    return made


def remove_empty(folders: list[Path]) -> None:
    """Remove empty folders, deepest first; others stay."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _temporary_folder(path: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(
            prefix=f".{path.name}-", suffix=_SUFFIX, dir=path.parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        # name the path of the user instead of the temporary one
        raise OSError(error.errno, f"cannot write here: {error.strerror}", str(path)) from error


@contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Keep other processes out of a folder; the lock ends with the process, however that ends.

    Raises:
        CheckpointError: another process has the lock.
        OSError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise CheckpointError(f"{folder}: {busy}") from error
    try:
        yield
    finally:
        lock.release()
