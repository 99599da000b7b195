"""Cuts HTML and XML into tags and text with their offsets in the source; nothing is expanded, fetched or repaired."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from simmim.tasks.translation.marks import Piece

__all__ = ["Token", "attribute", "coded_pieces", "tokens"]

_SPECIAL = re.compile(r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<![^>\[]*(?:\[.*?\]\s*)?>", re.S)
_TAG = re.compile(r"""<(/?)([A-Za-z_][^\s/>]*)((?:[^>"']|"[^"]*"|'[^']*')*+)>""")
_OPENING = re.compile(r"<[A-Za-z_/!?]")
_RAW = frozenset("script style textarea title xmp iframe noembed noframes plaintext".split())


@dataclass(frozen=True)
class Token:
    """A tag, a text, or something else of the source.

    Attributes:
        kind: `text`, `open`, `close`, `empty` (`<br/>`) or `other` (comments, declarations).
        name: the name of the element, in lower case for HTML; empty for what is no tag.
        start: where it begins.
        end: where it ends.
        attributes: the source between the name and the end of a tag.
    """

    kind: str
    name: str
    start: int
    end: int
    attributes: str = ""


def tokens(source: str, *, xml: bool = False) -> Iterator[Token]:
    """Yield the tokens of a source; together they are all of it, in linear time.

    Args:
        source: the document.
        xml: whether names keep their case, and no element holds raw text.
    """
    position = 0
    while position < len(source):
        found = _OPENING.search(source, position)
        start = found.start() if found else len(source)
        if start > position:
            yield Token("text", "", position, start)
        if not found:
            return
        special = source[start + 1] in "!?"
        match = (_SPECIAL if special else _TAG).match(source, start)
        if match is None and not special and source[start + 1] == "/":
            match = re.compile(r"</[^>]*>").match(source, start)
        if match is None:  # never closed: browsers drop the rest
            yield Token("other", "", start, len(source))
            return
        position = match.end()
        if special or match.re is not _TAG:
            yield Token("other", "", start, position)
            continue
        name = match[2] if xml else match[2].lower()
        kind = "close" if match[1] else "empty" if match[3].endswith("/") else "open"
        yield Token(kind, name, start, position, match[3])
        if not xml and kind == "open" and name in _RAW:
            ending = re.compile(rf"</{re.escape(name)}(?=[\s/>])", re.I).search(source, position)
            end = ending.start() if ending else len(source)
            if end > position:
                yield Token("text" if name in ("title", "textarea") else "other", "", position, end)
            position = end


def attribute(token: Token, name: str) -> str | None:
    """Return the source of an attribute's value, without its quotes; None where the tag lacks it."""
    pattern = rf"""(?:^|[\s"']){re.escape(name)}\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))"""
    found = re.search(pattern, token.attributes, re.I)
    return None if found is None else next(value for value in found.groups() if value is not None)


def coded_pieces(
    source: str, start: int, end: int, codes: Collection[str], paired: Collection[str] = ()
) -> Iterator[Piece]:
    """Cut a segment of a translation file into texts and markup, of which codes of another document are one piece each.

    Args:
        source: the characters of the file.
        start: where the segment begins.
        end: where it ends.
        codes: elements whose content is code.
        paired: elements whose two ends belong together in a translation.
    """
    code, began = "", 0
    for token in tokens(source[start:end], xml=True):
        name = token.name.rpartition(":")[2]
        first, behind = token.start + start, token.end + start
        if code:
            if token.kind == "close" and name == code:
                yield Piece(began, behind)
                code = ""
        elif name in codes and token.kind == "open":
            code, began = name, first
        elif token.kind == "text":
            yield Piece(first, behind, html.unescape(source[first:behind]))
        else:
            ends = name in paired and token.kind in ("open", "close")
            yield Piece(first, behind, None, (f"/{name}" if token.kind == "close" else name) if ends else "")
    if code:
        yield Piece(began, end)
