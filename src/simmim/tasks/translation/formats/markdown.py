"""Markdown: paragraphs, headings, items of lists and cells of tables; code, addresses and front matter stay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from markdown_it import MarkdownIt
from markdown_it.token import Token

from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.formats.html import html_blocks
from simmim.tasks.translation.marks import Block, Piece, make_block

__all__ = ["escape_markdown", "open_markdown"]

_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n.*?\n\1[ \t]*(?:\n|\Z)", re.S)
_INLINE = re.compile(
    r"""(?xs)
    (?P<code>(?<!`)(?P<fence>`+)(?!`).*?(?<!`)(?P=fence)(?!`))
    | (?P<math>\$\$.+?\$\$)
    | (?P<image>!\[[^\[\]]*\](?:\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+(?:"[^"]*"|'[^']*'))?\)|\[[^\[\]]*\]))
    | (?P<note>\[\^[^\]\s]+\])
    | (?P<address><(?:https?|ftp|mailto):[^<>\s]*>)
    | (?P<tag></?[A-Za-z][^<>]*>|<!--.*?-->)
    | (?P<task>^\[[ xX]\](?=\s))
    | (?P<end>\](?:\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+(?:"[^"]*"|'[^']*'))?\)|\[[^\[\]]*\]))
    | (?P<escape>\\[^\w\s])
    | (?P<hard>(?:\\|[ ]{2,})(?=\n))
    | (?P<strong>\*\*|__(?!\w)|(?<!\w)__|~~)
    | (?P<emphasis>\*|(?<!\w)_(?=\S)|(?<=\S)_(?!\w))
    | (?P<entity>&(?:\#\d+|\#x[\da-f]+|\w+);)
    """,
    re.I,
)


def escape_markdown(text: str) -> str:
    """Write a text so that no character of it is markup."""
    text = re.sub(r"([\\*`]|<(?=[A-Za-z/!])|(?<!\w)_(?=\w)|(?<=\w)_(?!\w))", r"\\\1", text)
    return re.sub(r"^(?:([-+#>])(?=[\s#>]|$)|(\d+)([.)])(?=\s))", lambda found: _first(found), text)


def _first(found: re.Match[str]) -> str:
    """Escape what would begin a list, a heading or a quotation."""
    return f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}"


def open_markdown(source: str, encode: Callable[[str], bytes]) -> SpanDocument:
    """Find the blocks of a Markdown file.

    Args:
        source: its characters.
        encode: turns characters into the bytes of a file.
    """
    return SpanDocument(source, list(_blocks(source)), escape_markdown, encode)


def _blocks(source: str) -> Iterator[Block]:
    front = _FRONT_MATTER.match(source)
    body = source if front is None else re.sub(r"[^\n]", " ", front[0]) + source[front.end() :]
    starts = [0, *(found.end() for found in re.finditer("\n", body))]
    cursor = front.end() if front else 0
    parser = MarkdownIt("commonmark").enable("table").enable("strikethrough")
    for token in parser.parse(body):
        if token.map is None or token.type not in ("inline", "html_block"):
            continue
        first, behind = (starts[line] if line < len(starts) else len(source) for line in token.map)
        if token.type == "html_block":
            for block in html_blocks(source[first:behind]):
                yield replace(block, start=block.start + first, end=block.end + first)
            cursor = max(cursor, behind)
            continue
        spans = _spans(source, token, max(first, cursor), behind)
        if spans is None:
            continue
        cursor = spans[-1][1]
        found = make_block(source, list(_pieces(source, spans)), escape_markdown)
        if found is not None:
            yield found


def _spans(source: str, token: Token, start: int, behind: int) -> list[tuple[int, int]] | None:
    """Find the lines of a block in the source, where marks of quotations and lists stand before them."""
    spans = []
    for line in token.content.split("\n"):
        found = source.find(line, start, behind)
        if found < 0:
            # of a table, whose cells have escaped bars
            line = line.replace("|", "\\|")
            found = source.find(line, start, behind)
            if found < 0:
                return None
        spans.append((found, found + len(line)))
        start = found + len(line)
    return spans


def _pieces(source: str, spans: list[tuple[int, int]]) -> Iterator[Piece]:
    # the lines are read as one text, as markup may go from one to the next
    text = "\n".join(source[start:end] for start, end in spans)
    positions = [offset for start, end in spans for offset in range(start, end + 1)]
    open_marks: list[str] = []
    links = _links(text)
    position = 0
    for found in _INLINE.finditer(text):
        for opening in (offset for offset in links if position <= offset < found.start()):
            yield from _text(positions, text, position, opening)
            yield Piece(positions[opening], positions[opening] + 1, None, "link")
            position = opening + 1
        yield from _text(positions, text, position, found.start())
        start, end = positions[found.start()], positions[found.end() - 1] + 1
        position = found.end()
        kind = found.lastgroup if found["fence"] is None else "code"
        written = found[0]
        if kind in ("strong", "emphasis"):
            name = f"/{written}" if written in open_marks else written
            if written in open_marks:
                open_marks.remove(written)
            else:
                open_marks.append(written)
            yield Piece(start, end, None, name)
        elif kind == "end" and found.start() in links.values():
            yield Piece(start, end, None, "/link")
        elif kind == "escape" and written[1] in "\\*`<_":
            yield Piece(start, end, written[1])
        else:
            yield Piece(start, end)
    for opening in (offset for offset in links if offset >= position):
        yield from _text(positions, text, position, opening)
        yield Piece(positions[opening], positions[opening] + 1, None, "link")
        position = opening + 1
    yield from _text(positions, text, position, len(text))


def _text(positions: list[int], text: str, start: int, end: int) -> Iterator[Piece]:
    """Yield a text, a piece a line."""
    for line in re.finditer(r"[^\n]+|\n", text[start:end]):
        first, behind = start + line.start(), start + line.end()
        # what is between two lines, such as the mark of a quotation, is a space
        stop = positions[behind] if line[0] == "\n" and behind < len(positions) else positions[behind - 1] + 1
        yield Piece(positions[first], stop, line[0])


def _links(text: str) -> dict[int, int]:
    """Return where the text of each link begins, and where it ends."""
    found: dict[int, int] = {}
    stack: list[int] = []
    for match in re.finditer(r"\\.|`[^`]*`|!?\[|\]", text, re.S):
        if match[0] in ("[", "!["):
            stack.append(match.start() if match[0] == "[" else -1)
        elif match[0] == "]" and stack:
            start = stack.pop()
            follows = text[match.end() : match.end() + 1]
            if start >= 0 and follows in ("(", "[") and text[start + 1 : start + 2] != "^":
                found[start] = match.start()
    return found
