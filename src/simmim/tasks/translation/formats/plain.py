"""Plain text: paragraphs whose lines are broken at a margin, and single lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.marks import Block, Piece, make_block

__all__ = ["open_text"]

_PARAGRAPH = re.compile(r"[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*")
_MARGIN = 50  # a line of fewer characters ends a block: it was not broken at a margin


def open_text(source: str, encode: Callable[[str], bytes]) -> SpanDocument:
    """Find the blocks of a text.

    Args:
        source: its characters.
        encode: turns characters into the bytes of a file.
    """
    return SpanDocument(source, list(_blocks(source)), str, encode)


def _blocks(source: str) -> Iterator[Block]:
    for paragraph in _PARAGRAPH.finditer(source):
        start = end = paragraph.start()
        for line in paragraph[0].splitlines(keepends=True):
            end += len(line)
            if len(line.strip()) < _MARGIN or end == paragraph.end():
                block = make_block(source, [Piece(start, end, source[start:end])], str)
                start = end
                if block is not None:
                    yield block
