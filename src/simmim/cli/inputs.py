"""Reads the texts that a command is given: whole files of UTF-8, or a refusal that says what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

from simmim.errors import DataError

__all__ = ["STANDARD_INPUT", "read_text"]

STANDARD_INPUT = "-"


def read_text(path: str) -> str:
    """Read a text.

    Args:
        path: a file, or `-` for standard input.

    Returns:
        The whole text, never cut; line ends are newlines, and a byte order mark is left out.

    Raises:
        DataError: the file is missing, a folder, binary, not UTF-8, or holds nothing but white space.
    """
    name = "standard input" if path == STANDARD_INPUT else path
    try:
        content = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{name}: expected a text file, cannot read it: {error.strerror}") from error
    if b"\0" in content:
        raise DataError(
            f"{name}: expected text in UTF-8, got a binary file (NUL byte at offset {content.index(0)}); "
            "save it as plain UTF-8 text"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # the decoder counts from behind a byte order mark
        offset = error.start + len(content) - len(error.object)
        raise DataError(
            f"{name}: expected text in UTF-8, got byte 0x{content[offset]:02x} at offset {offset}; convert the file"
        ) from error
    if not text.strip():
        raise DataError(f"{name}: expected a text, the file is {'blank' if text else 'empty'}")
    return text.replace("\r\n", "\n").replace("\r", "\n")
