"""Takes the text out of documents that are ZIP archives: DOCX, PPTX, EPUB and ODT; images and macros are left alone."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree
from zipfile import ZipFile

from simmim.cli.headings import heading_mark
from simmim.cli.web_pages import page_text
from simmim.errors import DataError

if TYPE_CHECKING:
    from pptx.slide import Slide

__all__ = ["docx_text", "epub_text", "odt_text", "slide_texts"]

_UNPACKED, _UNPACKED_PER_BYTE = 2**27, 32  # bytes that an archive may unpack to: what deflates better holds no text
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # also what Office puts around a file with a password
_PAGES = ("application/xhtml+xml", "text/html")

_ODF = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}%s"
_TEXT = {tag: _ODF % ("text", tag) for tag in "p h s tab line-break note note-body tracked-changes".split()}
_LEVEL = _ODF % ("text", "outline-level")
_OFFICE_TEXT, _ANNOTATION = _ODF % ("office", "text"), _ODF % ("office", "annotation")
_DRAWING = _ODF % ("drawing", "")
_WHITE = {_TEXT["s"]: " ", _TEXT["tab"]: "\t", _TEXT["line-break"]: "\n"}
_WHITE_SPACE = re.compile(r"[ \t\r\n]+")


def docx_text(name: str, content: bytes) -> str:
    """Return the text of a Word document, a line for each paragraph and table cell, footnotes at the end.

    Raises:
        DataError: it has a password, is of an old Word, or unpacks to too much.
    """
    import mammoth

    _open(name, "DOCX", content).close()
    page: str = mammoth.convert_to_html(BytesIO(content), convert_image=lambda image: []).value
    return page_text(name, page.replace("↑</a>", "</a>").encode(), "utf-8")  # the arrows lead back from footnotes


def slide_texts(name: str, content: bytes) -> list[str]:
    """Return the text of each slide of a PowerPoint presentation, its notes last; arguments as for `docx_text`."""
    from pptx import Presentation

    _open(name, "PPTX", content).close()
    return ["\n".join(_slide_lines(slide)) for slide in Presentation(BytesIO(content)).slides]


def _slide_lines(slide: Slide) -> Iterator[str]:
    from pptx.enum.shapes import PP_PLACEHOLDER

    repeated = (PP_PLACEHOLDER.SLIDE_NUMBER, PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER)
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    waiting: list[Any] = list(reversed(slide.shapes))
    while waiting:
        shape = waiting.pop()
        if hasattr(shape, "shapes"):  # a group
            waiting += reversed(shape.shapes)
        elif shape.has_text_frame and not (shape.is_placeholder and shape.placeholder_format.type in repeated):
            yield from _lines(shape.text_frame.text)
        elif getattr(shape, "has_table", False):
            for cell in shape.table.iter_cells():
                yield from _lines(cell.text)
    yield from _lines(notes.text if notes is not None else "")


def _lines(text: str) -> Iterator[str]:
    """Give the lines that are not blank; a vertical tab is a break within a paragraph."""
    return (line.strip() for line in text.replace("\v", "\n").splitlines() if line.strip())


def epub_text(name: str, content: bytes) -> str:
    """Return the text of an e-book, its chapters in the order of reading; arguments as for `docx_text`.

    Raises:
        DataError: as there; or a chapter is missing, has copy protection, or is not in its encoding.
    """
    with _open(name, "EPUB", content) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        found = container.find(".//{*}rootfile")
        path = "" if found is None else found.get("full-path", "")
        package = ElementTree.fromstring(archive.read(path))
        names = set(archive.namelist())
        locked = archive.read("META-INF/encryption.xml") if "META-INF/encryption.xml" in names else b""
        items = {item.get("id"): item for item in package.iterfind(".//{*}manifest/{*}item")}
        chapters: dict[str, str] = {}
        for reference in package.iterfind(".//{*}spine/{*}itemref"):
            item = items.get(reference.get("idref"), reference)
            if item is not reference and item.get("media-type") not in _PAGES:
                continue  # an image
            href = unquote(item.get("href", ""))
            chapter = posixpath.normpath(posixpath.join(posixpath.dirname(path), href))
            if chapter not in names:
                raise DataError(f"{name}: expected EPUB, its chapter {href or reference.get('idref')!r} is missing")
            if item.get("href", "").encode() in locked:
                raise DataError(f"{name}: expected EPUB without copy protection, its chapter {href!r} has it")
            if chapter not in chapters:
                chapters[chapter] = page_text(f"{name}: {chapter}", archive.read(chapter), None, xml=True)
    return "\n\n".join(text for text in chapters.values() if text)


def odt_text(name: str, content: bytes) -> str:
    """Return the text of an OpenDocument text, a line for each paragraph and table cell; arguments as for `docx_text`.

    Notes and text boxes follow the paragraph that they belong to; deleted text and comments are left out.
    """
    with _open(name, "ODT", content) as archive:
        if "META-INF/manifest.xml" in archive.namelist() and b"encryption-data" in archive.read(
            "META-INF/manifest.xml"
        ):
            raise DataError(f"{name}: expected ODT that opens without a password; save it without one")
        body = ElementTree.fromstring(archive.read("content.xml")).find(f".//{_OFFICE_TEXT}")
    if body is None:
        raise DataError(f"{name}: expected ODT, the document is another one of OpenDocument; save it as ODT or PDF")
    return "\n".join(paragraph for paragraph in _paragraphs(body) if paragraph.strip())


def _paragraphs(element: ElementTree.Element) -> Iterator[str]:
    for child in element:
        if child.tag in (_TEXT["p"], _TEXT["h"]):
            pieces: list[str] = []
            nested: list[ElementTree.Element] = []
            _add_inline(child, pieces, nested)
            line = "".join(pieces).strip()
            level = child.get(_LEVEL, "1")
            yield (
                heading_mark(int(level) if level.isdigit() else 1) + line if child.tag == _TEXT["h"] and line else line
            )
            for inner in nested:
                yield from _paragraphs(inner)
        elif child.tag not in (_TEXT["tracked-changes"], _ANNOTATION):
            yield from _paragraphs(child)


def _add_inline(element: ElementTree.Element, pieces: list[str], nested: list[ElementTree.Element]) -> None:
    """Add the text of a paragraph, and what has paragraphs of its own."""
    pieces.append(_WHITE_SPACE.sub(" ", element.text or ""))
    for child in element:
        if child.tag in _WHITE:
            pieces.append(_WHITE[child.tag])
        elif child.tag == _TEXT["note"]:
            nested += child.findall(_TEXT["note-body"])
        elif child.tag.startswith(_DRAWING):
            nested.append(child)
        elif child.tag != _ANNOTATION:
            _add_inline(child, pieces, nested)
        pieces.append(_WHITE_SPACE.sub(" ", child.tail or ""))


def _open(name: str, kind: str, content: bytes) -> ZipFile:
    """Open an archive, unless it has a password or unpacks to more than a document of its size can hold."""
    if content.startswith(_OLD_OFFICE):
        raise DataError(
            f"{name}: expected {kind}, got a file of an old Office program or one with a password; "
            f"save it as {kind} without a password"
        )
    archive = ZipFile(BytesIO(content))
    entries = archive.infolist()  # zipfile never reads more of an entry than its declared size
    if any(entry.flag_bits & 1 for entry in entries):
        raise DataError(f"{name}: expected {kind} that opens without a password; save it without one")
    size, limit = sum(entry.file_size for entry in entries), _UNPACKED + _UNPACKED_PER_BYTE * len(content)
    if size > limit:
        raise DataError(
            f"{name}: expected {kind} of this size to unpack to {limit / 2**20:,.0f} MiB at most, it unpacks to "
            f"{size / 2**20:,.0f} MiB; convert it to text if it is to be trusted"
        )
    return archive
