"""The files of a folder of documents that were read: writing, mapping, checking, locking."""

from __future__ import annotations

import errno
import math
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from simmim.errors import CheckpointError

__all__ = [
    "AGAIN",
    "append",
    "checksum",
    "content_of",
    "damaged",
    "locked",
    "named",
    "open_array",
]

AGAIN = "read the documents again into a new folder"
"""What to do about a damaged file: a document that a folder holds is not read again into it."""


def checksum(content: Any, before: int = 0) -> int:
    """Return the CRC-32 of bytes, or of an array in one piece, behind others of a given one. Cost: a second a GB."""
    return zlib.crc32(content, before)


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
