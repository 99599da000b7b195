"""Opens regular files only: a pipe or a device instead of a file is an error and does not block."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from pathlib import Path

__all__ = ["append_text", "file_digest", "open_regular", "read_regular_text"]

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def append_text(path: Path, text: str) -> None:
    """Add text to the end of a regular file, in UTF-8; a missing one is made.

    Raises:
        OSError: the file cannot be written, or is not regular, such as a pipe, which would wait for a reader for ever.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, 0o666), "wb") as stream:  # noqa: PTH123
        _check_regular(stream.fileno(), path)
        stream.write(text.encode("utf-8"))


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading bytes.

    Raises:
        OSError: the file is missing, cannot be read, or is not regular, such as a pipe or a device.
    """
    try:
        # without O_NONBLOCK the call would block on a pipe without a writer
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a NUL character or a lone surrogate
        raise OSError(errno.EINVAL, "no name of a file", str(path)) from error
    try:
        _check_regular(handle, path)
    except OSError:
        os.close(handle)
        raise
    return io.BufferedReader(io.FileIO(handle))


def _check_regular(handle: int, path: Path) -> None:
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        code = errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL
        raise OSError(code, f"expected a file, it is {_KINDS.get(kind, 'something else')}", str(path))


def read_regular_text(path: Path) -> str:
    """Read a regular file of UTF-8 text.

    Raises:
        OSError: the file cannot be read, or is not regular.
        UnicodeDecodeError: it is not UTF-8.
    """
    with open_regular(path) as stream:
        return stream.read().decode("utf-8")


def file_digest(path: Path) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of a regular file, read in chunks.

    Raises:
        OSError: the file cannot be read, or is not regular.
    """
    with open_regular(path) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return stream.tell(), digest
