"""Writes files and folders beside their place and renames them: what stands there is always whole."""

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

__all__ = [
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
    """Open a text file that takes its place once the block ends without an error.

    A path that cannot be written raises on entry, before any work is done for it.

    Args:
        path: the file to make or replace; folders above it are made, and removed again if the block fails.

    Yields:
        A stream of UTF-8 text.

    Raises:
        OSError: the file cannot be made, or not be written, for instance for want of room; it is named.
    """
    with (
        replaced_path(path) as draft,
        io.TextIOWrapper(io.BufferedWriter(_NamedFile(draft, path)), encoding="utf-8") as stream,
    ):
        yield stream


@contextmanager
def replaced_path(path: Path) -> Iterator[Path]:
    """Name a file to be made that takes the place of another once the block ends without an error.

    Args:
        path: the file to make or replace; folders above it are made, and removed again if the block fails.

    Yields:
        The path to write to.

    Raises:
        OSError: the file cannot be made.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with _workshop(path) as workshop:
        draft = workshop / path.name
        yield draft
        _flush(draft)
        draft.replace(path)


class _NamedFile(io.FileIO):
    """A file whose failures to be written name the place that it is for, as those to be opened do."""

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
    """Make an empty folder that takes its place, with what the block wrote, once the block ends without an error.

    Args:
        path: the folder to make or replace; those above it are made, and removed again if the block fails.

    Yields:
        The folder to write into.

    Raises:
        OSError: the folder cannot be made.
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
    """Remove a folder so that it is gone at once: nobody ever sees half of it.

    Raises:
        OSError: the folder cannot be moved away.
    """
    with _workshop(path) as workshop:
        path.rename(workshop / path.name)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they wrote into a folder have left in it."""
    for leftover in folder.glob(f".*{_SUFFIX}"):
        shutil.rmtree(leftover, ignore_errors=True)


def _flush(path: Path) -> None:
    """Have the contents of a file on the disk before its name is, should the machine stop."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _workshop(path: Path) -> Iterator[Path]:
    """Make a folder of our own beside a path, on the same file system, that goes when the block ends."""
    made = make_parents(path)
    try:
        with _temporary_folder(path) as name:
            yield Path(name)
    except BaseException:
        remove_empty(made)
        raise


def make_parents(path: Path) -> list[Path]:
    """Make the folders above a path that are missing.

    Returns:
        Those that were made, the deepest first, for `remove_empty`.

    Raises:
        OSError: one cannot be made; it is named.
    """
    missing: list[Path] = []
    for folder in path.parents:
        if os.path.exists(folder):  # noqa: PTH110  (which raises nothing, whatever the name)
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
    """Remove folders that were made for nothing, the deepest first; one that holds something stays."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _temporary_folder(path: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(
            prefix=f".{path.name}-", suffix=_SUFFIX, dir=path.parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        # the temporary name means nothing to the user
        raise OSError(error.errno, f"cannot write here: {error.strerror}", str(path)) from error
