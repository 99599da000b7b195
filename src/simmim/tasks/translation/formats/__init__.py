"""The formats of documents that can be translated, a file each; this one finds the format of a file."""

from __future__ import annotations

import re
from pathlib import PurePath

from simmim.errors import DataError
from simmim.tasks.translation.documents import Document
from simmim.tasks.translation.formats.characters import declared_encoding, decoded

__all__ = ["SUFFIXES", "format_of", "open_document"]

_SUFFIXES = {
    "text": (".txt", ".text"),
    "Markdown": (".md", ".markdown"),
    "HTML": (".html", ".htm"),
    "XHTML": (".xhtml",),
    "DOCX": (".docx",),
    "EPUB": (".epub",),
    "PO": (".po", ".pot"),
    "XLIFF": (".xlf", ".xliff", ".sdlxliff"),
    "SRT": (".srt",),
    "WebVTT": (".vtt",),
    "troff": (".man", ".troff", ".roff", *(f".{section}" for section in range(1, 9))),
}
SUFFIXES = tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
"""Ends of the names of the files that can be translated."""
_FORMATS = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}


def format_of(name: str) -> str | None:
    """Return the format of a file by the end of its name; None where it is not known."""
    return _FORMATS.get(PurePath(name).suffix.lower())


def open_document(name: str, content: bytes, encoding: str | None = None) -> Document:
    """Find the blocks of a document.

    Args:
        name: its file name, whose end says which format it has.
        content: its bytes.
        encoding: its encoding, where it has one; None is UTF-8, or what it declares.

    Raises:
        DataError: the format is not known, or the document is broken.
        ConfigError: there is no such encoding.
    """
    kind = format_of(name)
    if kind is None:
        raise DataError(
            f"{name}: expected a file that ends in {', '.join(SUFFIXES[:12])} or another of these; convert it"
        )
    if kind in ("DOCX", "EPUB", "PO"):
        return _open_binary(kind, name, content)
    marked = kind in ("HTML", "XHTML", "XLIFF")
    declared = declared_encoding(content) if marked and encoding is None else encoding
    source, encode = decoded(name, content, declared, references=marked)
    if kind in ("HTML", "XHTML"):
        from simmim.tasks.translation.formats.html import open_html

        return open_html(source, encode, xml=kind == "XHTML" or source.lstrip().startswith("<?xml"))
    if kind == "Markdown":
        from simmim.tasks.translation.formats.markdown import open_markdown

        return open_markdown(source, encode)
    if kind == "XLIFF":
        from simmim.tasks.translation.formats.xliff import open_xliff

        if not re.search(r"<(?:\w+:)?xliff\b", source):
            raise DataError(f"{name}: expected an XLIFF file, found no element xliff")
        return open_xliff(source, encode)
    if kind in ("SRT", "WebVTT"):
        from simmim.tasks.translation.formats.subtitles import open_subtitles

        return open_subtitles(source, encode, vtt=kind == "WebVTT")
    if kind == "troff":
        from simmim.tasks.translation.formats.troff import open_troff

        return open_troff(source, encode)
    from simmim.tasks.translation.formats.plain import open_text

    return open_text(source, encode)


def _open_binary(kind: str, name: str, content: bytes) -> Document:
    if kind == "DOCX":
        from simmim.tasks.translation.formats.docx import open_docx

        return open_docx(name, content)
    if kind == "EPUB":
        from simmim.tasks.translation.formats.epub import open_epub

        return open_epub(name, content)
    from simmim.tasks.translation.formats.po import open_po

    return open_po(name, content)
