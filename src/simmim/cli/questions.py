"""Reads questions from standard input."""

from __future__ import annotations

import sys

from simmim.errors import DataError

__all__ = ["piped_questions"]


def piped_questions() -> list[str]:
    """Return the lines of standard input that are not blank.

    Raises:
        DataError: they are no UTF-8.
    """
    try:
        lines = sys.stdin.buffer.read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"standard input: expected questions in UTF-8: {error}; convert them") from error
    return [line.strip() for line in lines if line.strip()]
