"""Word documents: the paragraphs of the text, headers, footers and notes; pictures, fields and styles stay."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator

from simmim.errors import DataError
from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.formats.archives import ArchiveDocument, read_members
from simmim.tasks.translation.formats.html import escape_markup
from simmim.tasks.translation.marks import Block, Piece, make_block
from simmim.tasks.translation.markup import Token, tokens

__all__ = ["open_docx"]

_PARTS = re.compile(r"word/(?:document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml")
_PAIRED = frozenset("hyperlink ins smartTag sdt sdtContent fldSimple customXml bdo dir moveTo".split())
_UNTOUCHED = frozenset("instrText delText del moveFrom drawing pict object".split())
# what Word notes in a run without changing its looks
_LOOKS_NOTHING = re.compile(r"""<w:(?:lang|noProof|proofErr|rFonts)\b[^>]*/>|\sw:rsid\w*="[^"]*\"""")


def open_docx(name: str, content: bytes) -> ArchiveDocument:
    """Find the paragraphs of a Word document.

    Args:
        name: the name of the file, for an error.
        content: its bytes.

    Raises:
        DataError: it is no Word document.
    """
    members = read_members(name, content)
    if "word/document.xml" not in members:
        raise DataError(f"{name}: expected a Word document (.docx), got an archive without word/document.xml")
    parts = {}
    for member, data in members.items():
        if _PARTS.fullmatch(member):
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise DataError(f"{name}: expected {member} in UTF-8; save the document anew with Word") from error
            parts[member] = SpanDocument(text, list(_blocks(text)), escape_markup, _encoded)
    return ArchiveDocument(content, parts)


def _encoded(text: str) -> bytes:
    """Write a part; spaces at the ends of its texts are kept only where a text says so."""
    kept = re.sub(r"<w:t>(?=\s)|<w:t>(?=[^<]*\s</w:t>)", '<w:t xml:space="preserve">', text)
    return kept.encode()


def _blocks(source: str) -> Iterator[Block]:
    """Yield the paragraphs of a part."""
    paragraph: list[Token] = []
    untouched = ""
    skipped_from = 0
    for token in tokens(source, xml=True):
        name = _local(token)
        if untouched:
            if name == untouched and token.kind == "close":
                paragraph.append(Token("other", "", skipped_from, token.end))
                untouched = ""
        elif name in _UNTOUCHED and token.kind == "open" and not _holds_paragraphs(source, token, name):
            untouched, skipped_from = name, token.start
        elif name == "p":
            yield from _finished(source, paragraph)
        else:
            paragraph.append(token)
    yield from _finished(source, paragraph)


def _local(token: Token) -> str:
    prefix, _, name = token.name.rpartition(":")
    return name if prefix == "w" else ""


def _holds_paragraphs(source: str, token: Token, name: str) -> bool:
    """Tell whether an element has text boxes in it."""
    end = source.find(f"</w:{name}>", token.end)
    return "<w:txbxContent" in source[token.end : end if end >= 0 else len(source)]


def _finished(source: str, paragraph: list[Token]) -> Iterator[Block]:
    if any(_local(token) == "t" for token in paragraph):
        block = make_block(source, _pieces(source, paragraph), escape_markup)
        if block is not None:
            yield block
    paragraph.clear()


def _pieces(source: str, paragraph: list[Token]) -> list[Piece]:
    """Cut a paragraph into texts and what is between; between two runs of the same format there is nothing to mark."""
    texts: list[tuple[int, int, str]] = []  # where each text is, and its format
    style, inside = "", False
    began = 0
    for token in paragraph:
        name = _local(token)
        if name == "r" and token.kind == "open":
            style = ""
        elif name == "rPr" and token.kind == "open":
            began = token.end
        elif name == "rPr" and token.kind == "close":
            style = _LOOKS_NOTHING.sub("", source[began : token.start])
        elif name == "t":
            inside = token.kind == "open"
        elif inside and token.kind == "text":
            texts.append((token.start, token.end, style))
    sizes: Counter[str] = Counter()
    for start, end, found in texts:
        sizes[found] += end - start
    base = sizes.most_common(1)[0][0] if sizes else ""
    pieces: list[Piece] = []
    for index, (start, end, found) in enumerate(texts):
        if index:
            previous = texts[index - 1]
            pieces += _between(source, paragraph, previous[1], start, (previous[2], found, base))
        pieces.append(Piece(start, end, html.unescape(source[start:end])))
    return pieces


def _between(
    source: str, paragraph: list[Token], start: int, end: int, formats: tuple[str, str, str]
) -> Iterator[Piece]:
    before, after, base = formats
    between = [token for token in paragraph if start <= token.start < end]
    plain = all(
        _local(token) in ("t", "r", "rPr", "proofErr", "lang", "noProof", "rFonts") or _in_format(between, token)
        for token in between
    )
    if before == after and plain:
        yield Piece(start, end, "")
        return
    names = []
    if before != after:
        names += ["/format"] if before != base else []
        names += ["format"] if after != base else []
    for token in between:
        name = _local(token)
        if name in _PAIRED and token.kind in ("open", "close"):
            names.append(name if token.kind == "open" else f"/{name}")
    # the first piece is all of the markup; the others only say what begins and ends there
    yield Piece(start, end, None, names[0] if names else "")
    for name in names[1:]:
        yield Piece(end, end, None, name)


def _in_format(between: list[Token], token: Token) -> bool:
    """Tell whether a tag is inside of the format of a run."""
    depth = 0
    for other in between:
        if _local(other) == "rPr":
            depth += {"open": 1, "close": -1}.get(other.kind, 0)
        if other is token:
            return depth > 0
    return False
