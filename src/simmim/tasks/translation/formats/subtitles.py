"""Subtitles in SubRip (SRT) and WebVTT: the text of each cue; times, settings, notes and styles stay."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable, Iterator

from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.formats.html import escape_markup
from simmim.tasks.translation.marks import Block, Piece, make_block

__all__ = ["open_subtitles"]

_CUE = re.compile(r"^[^\n]*-->[^\n]*\n(?P<text>(?:[^\n]*\S[^\n]*(?:\n|\Z))+)", re.M)
_MARKUP = re.compile(r"</?[A-Za-z\d][^<>]*>|\{\\[^{}]*\}")
_SPEAKER = re.compile(r"\s*[-–—]\s?\S")


def _broken(old: str, text: str) -> str:
    """Break a text into as many lines of like length as a cue had; tags count as the characters that they are."""
    lines = old.count("\n") + 1
    if lines == 1 or " " not in text:
        return text
    width = max(len(text) // lines, 1)
    while len(found := textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)) > lines:
        width += 1
    return "\n".join(found)


def open_subtitles(source: str, encode: Callable[[str], bytes], *, vtt: bool) -> SpanDocument:
    """Find the cues.

    Args:
        source: the characters of the file.
        encode: turns characters into the bytes of a file.
        vtt: whether it is WebVTT, which has character references.
    """
    unescape, escape = (html.unescape, escape_markup) if vtt else (str, str)
    return SpanDocument(source, list(_blocks(source, unescape, escape)), escape, encode, _broken)


def _blocks(source: str, unescape: Callable[[str], str], escape: Callable[[str], str]) -> Iterator[Block]:
    for cue in _CUE.finditer(source):
        start, end = cue.span("text")
        lines = source[start:end].splitlines(keepends=True)
        spans = [(start, end)]
        if sum(_SPEAKER.match(line) is not None for line in lines) > 1:  # each line is of another speaker
            spans = []
            for line in lines:
                spans.append((start, start + len(line)))
                start += len(line)
        for first, behind in spans:
            block = make_block(source, list(_pieces(source, first, behind, unescape)), escape)
            if block is not None:
                yield block


def _pieces(source: str, start: int, end: int, unescape: Callable[[str], str]) -> Iterator[Piece]:
    position = start
    for found in _MARKUP.finditer(source, start, end):
        yield Piece(position, found.start(), unescape(source[position : found.start()]))
        name = re.match(r"<(/?)([A-Za-z]+)", found[0])
        yield Piece(found.start(), found.end(), None, "".join(name.groups()) if name else "")
        position = found.end()
    yield Piece(position, end, unescape(source[position:end]))
