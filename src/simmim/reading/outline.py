"""Finds the headings over each position of a text: of Markdown, manual pages, standards and lists of terms."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["Outline", "with_headings"]

_LONGEST = 90  # characters of a heading
_KEPT = 3  # of the headings over a position, the innermost
_DEEP = 99  # text stands under all headings
_REPEATED = 3  # times that a line must come to be the head of a page
_MARKDOWN = re.compile(r"(#{1,6})\s+(\S.*)")
_NUMBER = r"(?:\d+(?:\.\d+)*|[IVXLC]+|[A-Z](?:\.\d+)*)"
_NUMBERED = re.compile(rf"(?:[A-Z]\w+\s+)?{_NUMBER}[.):]?(?:\s|$)")
_SENTENCE = re.compile(r"[a-zß-ÿ]{3,}[.!?]$|[,;。，；]$")
_ITEM = ("•", "|", "*", "-- ", "- ", "$ ", "> ")
_DIGITS = re.compile(r"\d+")
_PAGE = re.compile(r"\S\s{2,}\S|\bpage\b|^\W*\d+\W*$", flags=re.IGNORECASE)


class Outline:
    """The headings of a text: those that its format gives, else by the form of its lines alone.

    By form, a heading is a line of Markdown with `#`, a short line before one that is indented deeper (the section of a
    manual page, an option before what it does, a term before its explanation), or a short line at the margin that is in
    capitals, or numbered and alone. Lines that come again and again but for their numbers are the heads of pages.

    Attributes:
        heading_spans: begin and end of the line of each heading.
        page_heads: of each head of a page.

    Args:
        text: of any length. Cost: two passes over its lines.
        known: where the line of each heading begins, and its level from 1, if the format gives them.
    """

    def __init__(self, text: str, known: Mapping[int, int] | None = None) -> None:
        self._begins: list[int] = []
        self._headings: list[tuple[str, ...]] = []
        self.heading_spans: list[tuple[int, int]] = []
        lines_found, self.page_heads = _lines(text)
        stack: list[tuple[int, str]] = []
        for begin, lines in lines_found:
            level, heading = _level(lines) if not known else _given(lines[1], known.get(begin))
            while stack and stack[-1][0] >= level:
                stack.pop()
            over = tuple(head for _, head in stack[-_KEPT:])
            if not self._headings or self._headings[-1] != over:
                self._begins.append(begin)
                self._headings.append(over)
            if heading is not None:
                stack.append((level, heading))
                self.heading_spans.append((begin, begin + len(lines[1])))

    def over(self, position: int) -> tuple[str, ...]:
        """Return the headings over a character of the text, the outermost first; at most three, the innermost."""
        number = bisect_right(self._begins, position) - 1
        return self._headings[number] if number >= 0 else ()


def with_headings(text: str, spans: Iterable[tuple[int, int]]) -> list[str]:
    """Return parts of a text, each behind the headings that stand over its middle.

    "Read group translation map from FILE." says what it is about only with "OPTIONS: --group-map=FILE." before it.

    Args:
        text: the text.
        spans: begin and end of each part.
    """
    outline, found = Outline(text), []
    for begin, end in spans:
        over = ": ".join(outline.over((begin + end) // 2))
        found.append(f"{over}. {text[begin:end]}" if over else text[begin:end])
    return found


def _lines(text: str) -> tuple[list[tuple[int, tuple[str, str, str]]], list[tuple[int, int]]]:
    """Return where each line begins, with the line above it, it, and the next line; no empty lines, no heads of pages.

    The line above may be empty. Behind them come the begin and end of each head of a page.
    """
    lines = text.split("\n")
    forms = Counter(_DIGITS.sub("0", line.strip()) for line in lines if _DIGITS.search(line))
    found: list[tuple[int, str, str]] = []
    heads: list[tuple[int, int]] = []
    begin, above = 0, ""
    for line in lines:
        stripped = line.strip()
        if stripped and forms[_DIGITS.sub("0", stripped)] >= _REPEATED and _PAGE.search(stripped):
            heads.append((begin, begin + len(line)))
        elif stripped:
            found.append((begin, above, line))
        begin, above = begin + len(line) + 1, line
    following = [*(line for _, _, line in found), ""][1:]
    return [(begin, (above, line, below)) for (begin, above, line), below in zip(found, following, strict=True)], heads


def _level(lines: tuple[str, str, str]) -> tuple[int, str | None]:
    """Return how deep a line stands, and the heading that it is, if it is one.

    Headings of Markdown stand above those at the margin, and these above all text at the margin.
    """
    above, line, below = lines
    if match := _MARKDOWN.fullmatch(line.rstrip()):
        return len(match[1]) - 8, match[2].strip("# ")[:_LONGEST]
    heading, level = " ".join(line.split()), _indent(line)
    if len(heading) > _LONGEST or heading.startswith(_ITEM) or _SENTENCE.search(heading):
        return level, None
    alone = not above.strip() and bool(_NUMBERED.match(heading))
    if level == 0 and (alone or (heading.isupper() and len(heading) > 1)):
        return -1, heading
    announces = heading.endswith((":", "：")) and len(heading.split()) > 5
    return level, heading if _indent(below) > level and not announces else None


def _given(line: str, level: int | None) -> tuple[int, str | None]:
    return (_DEEP, None) if level is None else (level, " ".join(line.split())[:_LONGEST])


def _indent(line: str) -> int:
    wide = line.expandtabs()
    return len(wide) - len(wide.lstrip())
