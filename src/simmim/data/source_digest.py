"""Computes the digest of a data source: a file, or all files of a folder with their names."""

from __future__ import annotations

import hashlib
from pathlib import Path

from simmim.errors import DataError
from simmim.files import file_digest, open_regular

__all__ = ["check_files", "source_digest"]


def check_files(path: Path, pattern: str) -> list[Path]:
    """Return the files of a source, sorted by name; refuse those that cannot be opened.

    Raises:
        DataError: A file cannot be read, or is not regular, such as a pipe or a dangling link.
    """
    try:
        files = sorted(path.rglob(pattern)) if path.is_dir() else [path]
        files = [file for file in files if not file.is_dir() or file == path]
        for file in files:
            open_regular(file).close()
    except OSError as error:
        raise DataError(f"{path}: expected a file to read, cannot read it ({error}). Check the path.") from error
    return files


def source_digest(path: Path, pattern: str = "*.txt") -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of a source; for a folder, the SHA-256 of the list of its digests.

    Raises:
        DataError: A file cannot be read.
    """
    files = check_files(path, pattern)
    try:
        digests = {file: file_digest(file) for file in files}
    except OSError as error:
        raise DataError(f"{path}: expected a file to read, cannot read it ({error}). Check the path.") from error
    if files == [path]:
        return digests[path]
    # the format of `sha256sum`
    lines = b"".join(
        f"{digest}  ".encode() + bytes(file.relative_to(path)) + b"\n" for file, (_, digest) in digests.items()
    )
    return sum(size for size, _ in digests.values()), hashlib.sha256(lines).hexdigest()
