"""Carries the headings of a document through the extraction of its text: marks at the beginnings of lines."""

from __future__ import annotations

import re

__all__ = ["MARK", "heading_mark", "without_marks"]

MARK = "\x02"
"""A control character that readers of documents give as a space, so that it marks headings alone."""
_MARKED = re.compile(rf"^{MARK}([1-9])|{MARK}[1-9]?", re.MULTILINE)


def heading_mark(level: int) -> str:
    """Return what stands before a heading until `without_marks` takes it away."""
    return f"{MARK}{min(max(level, 1), 9)}"


def without_marks(text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return a text without its marks, and where each heading begins, with its level."""
    pieces: list[str] = []
    headings: list[tuple[int, int]] = []
    length = end = 0
    for found in _MARKED.finditer(text):
        pieces.append(text[end : found.start()])
        length += found.start() - end
        end = found.end()
        if found[1]:
            headings.append((length, int(found[1])))
    return "".join([*pieces, text[end:]]), tuple(headings)
