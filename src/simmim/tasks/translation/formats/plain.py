"""Plain text: paragraphs, or single lines where lines are not broken at a margin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.marks import Block, Piece, make_block

__all__ = ["open_text"]

_PARAGRAPH = re.compile(r"[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*")
_MARGIN = 50  # a line of fewer characters that another follows is a line of its own


def open_text(source: str, encode: Callable[[str], bytes]) -> SpanDocument:
    """Find the blocks of a text.

    Args:
        source: its characters.
        encode: turns characters into the bytes of a file.
    """
    return SpanDocument(source, list(_blocks(source)), str, encode)


def _blocks(source: str) -> Iterator[Block]:
    for paragraph in _PARAGRAPH.finditer(source):
        spans = [(paragraph.start(), paragraph.end())]
        lines = paragraph[0].split("\n")
        if any(len(line.rstrip()) < _MARGIN for line in lines[:-1]):
            spans, start = [], paragraph.start()
            for line in lines:
                spans.append((start, start + len(line)))
                start += len(line) + 1
        for start, end in spans:
            block = make_block(source, [Piece(start, end, source[start:end])], str)
            if block is not None:
                yield block
