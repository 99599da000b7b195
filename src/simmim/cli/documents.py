"""Takes the text out of documents: text, Markdown, notebooks, HTML, PDF, Office files, e-books, e-mails, subtitles."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath

from simmim.cli.encodings import decode
from simmim.cli.headings import MARK, heading_mark, without_marks
from simmim.cli.notebooks import notebook_markdown
from simmim.cli.packed_documents import docx_text, epub_text, odt_text, slide_texts
from simmim.cli.transcripts import transcript_text
from simmim.cli.web_pages import page_text
from simmim.errors import DataError, SimMIMError

__all__ = ["SUFFIXES", "Extracted", "check_library", "extract", "kind_of"]

_SUFFIXES = {
    "text": (".txt", ".text", ".rst"),
    "Markdown": (".md", ".markdown"),
    "HTML": (".html", ".htm", ".xhtml"),
    "PDF": (".pdf",),
    "DOCX": (".docx",),
    "PPTX": (".pptx",),
    "ODT": (".odt",),
    "EPUB": (".epub",),
    "RTF": (".rtf",),
    "an e-mail": (".eml",),
    "a notebook": (".ipynb",),
    "subtitles": (".srt", ".vtt"),
}
SUFFIXES = tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
"""Ends of the names of the files that are read where a folder is named."""

_KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes}
_MARKS = {b"%PDF-": "PDF", b"{\\rtf": "RTF"}
# what an archive has in it, for those whose names do not tell: names of entries, and contents that are not packed
_PACKED = {
    b"mimetypeapplication/epub+zip": "EPUB",
    b"mimetypeapplication/vnd.oasis.opendocument.text": "ODT",
    b"word/document.xml": "DOCX",
    b"ppt/presentation.xml": "PPTX",
}
_LIBRARIES = {  # by the names of their modules, and of their packages where that is another
    "Markdown": ("pyromark",),
    "a notebook": ("pyromark",),
    "HTML": ("turbohtml",),
    "PDF": ("pypdf",),
    "DOCX": ("mammoth", "turbohtml"),
    "PPTX": ("pptx",),
    "EPUB": ("turbohtml",),
    "RTF": ("striprtf",),
    "an e-mail": ("turbohtml",),
}
_PACKAGES = {"pptx": "python-pptx"}
_STRUCTURED = frozenset(("Markdown", "a notebook", "HTML", "DOCX", "ODT", "EPUB"))  # say which lines are headings
_AS_MARKDOWN = frozenset(("Markdown", "a notebook"))
_INLINE = frozenset("Emphasis Strong Strikethrough Superscript Subscript Link Image".split())


@dataclass(frozen=True)
class Extracted:
    """Holds the text of a document.

    Attributes:
        text: the whole text.
        note: what of the document is not in the text; empty if nothing is missing.
        pages: where in the text each page of a PDF or slide of a presentation begins, a blank one where the next one
            does; empty for other documents.
        headings: where in the text each heading begins, and its level from 1; empty where the format has none.
        wrapped: whether a paragraph may have several lines.
    """

    text: str
    note: str = ""
    pages: tuple[int, ...] = ()
    headings: tuple[tuple[int, int], ...] = ()
    wrapped: bool = True


def kind_of(name: str, content: bytes) -> str:
    """Return what a document is read as, by the ending of its name, or by its content where that says nothing.

    Returns:
        `text`, `Markdown`, `HTML`, `PDF`, `DOCX`, `PPTX`, `ODT`, `EPUB`, `RTF`, `an e-mail`, `a notebook` or
        `subtitles`.
    """
    known = _KINDS.get(PurePath(name).suffix.lower())
    marked = next((kind for mark, kind in _MARKS.items() if content.startswith(mark)), None)
    if known is None and content.startswith(b"PK\x03\x04"):
        marked = next((kind for mark, kind in _PACKED.items() if mark in content), None)
    return "PDF" if marked == "PDF" else known or marked or "text"


def check_library(name: str, content: bytes) -> None:
    """Refuse a document whose library is not installed.

    Raises:
        DataError: the library is missing; the error has the command that installs it.
    """
    kind = kind_of(name, content)
    missing = next((one for one in _LIBRARIES.get(kind, ()) if importlib.util.find_spec(one) is None), None)
    if missing is not None:
        raise DataError(
            f"{name}: {kind} needs the package {_PACKAGES.get(missing, missing)}; "
            'install it with: pip install "simmim[documents]"'
        )


def extract(name: str, content: bytes, encoding: str | None = None) -> Extracted:
    """Extract the text of a document.

    Args:
        name: its file name.
        content: its bytes.
        encoding: encoding of text, Markdown and HTML without a byte order mark; None takes the one that an HTML
            document declares, or UTF-8.

    Returns:
        The whole text, with newlines as line ends.

    Raises:
        DataError: the document cannot be read in its format, or has no text.
        ConfigError: the encoding does not exist.
    """
    if not content:
        raise DataError(f"{name}: expected a text, the file is empty")
    check_library(name, content)
    kind = kind_of(name, content)
    try:
        found = _read(kind, name, content, encoding)
    except SimMIMError:
        raise
    except MemoryError as error:
        raise DataError(f"{name}: expected a document that fits into memory, not enough to read it") from error
    except Exception as error:  # damaged documents raise errors of many types, which must not stop the others
        reason = str(error) or type(error).__name__
        expected = "a PDF" if kind == "PDF" else kind
        raise DataError(f"{name}: expected {expected}, cannot read it: {reason}") from error
    if not found.text.strip():
        raise DataError(f"{name}: expected a text, the file {'is blank' if found.text else 'holds none'}")
    return found


def _read(kind: str, name: str, content: bytes, encoding: str | None) -> Extracted:
    note = ""
    if kind == "PDF":
        return _joined(name, "a PDF", "page", _pdf(name, content))
    if kind == "PPTX":
        return _joined(name, kind, "slide", slide_texts(name, content))
    if kind == "an e-mail":
        from simmim.cli.mail import mail_text  # the package email would cost each start of a command

        text, note = mail_text(name, content, encoding)
    elif kind == "a notebook":
        text, note = notebook_markdown(name, content)
    elif kind == "subtitles":
        text = transcript_text(name, decode(name, content, encoding))
    elif kind == "HTML":
        text = page_text(name, content, encoding)
    elif kind in _READERS:
        text = _READERS[kind](name, content)
    else:
        text = decode(name, content, encoding)
    text = _lines("\n\n".join(_markdown(text)) if kind in _AS_MARKDOWN else text)
    if kind not in _STRUCTURED:
        return Extracted(text, note)
    text, headings = without_marks(text)
    return Extracted(text, note, headings=headings, wrapped=kind in _AS_MARKDOWN)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _joined(name: str, kind: str, unit: str, pages: list[str]) -> Extracted:
    """Join pages by blank lines, and say where each begins and which of them have no text."""
    pages = [_lines(page).strip() for page in pages]
    if not any(pages):
        raise DataError(
            f"{name}: expected {kind} with text, its {len(pages)} {unit}s hold none; "
            "if they are scanned, let a program for text recognition add it"
        )
    starts, end = [], 0  # a page with text is followed by a blank line, even the last one until that is known
    for page in pages:
        starts.append(end)
        end += len(page) + 2 if page else 0
    text = "\n\n".join(page for page in pages if page)
    blank = [str(number) for number, page in enumerate(pages, 1) if not page]
    note = f"no text on {len(blank)} of {len(pages)} {unit}s ({', '.join(blank[:5])}{', …' if blank[5:] else ''})"
    return Extracted(text, note if blank else "", tuple(min(start, len(text)) for start in starts))


def _markdown(text: str) -> Iterator[str]:
    """Yield the text of each block of Markdown; code and embedded HTML stay as they are."""
    import pyromark

    block: list[str] = []
    mark = ""
    for event in pyromark.events(text, options=pyromark.Options.ENABLE_TABLES):
        if event in ("SoftBreak", "HardBreak"):
            block.append("\n")
        elif isinstance(event, dict):
            [(kind, value)] = event.items()
            tag = next(iter(value)) if isinstance(value, dict) else value
            if kind not in ("Start", "End"):
                block.append(str(value).replace(MARK, " "))
            elif tag not in _INLINE:
                line = "".join(block).strip("\n")
                block.clear()
                if line.strip():
                    yield mark + line
                opened = value.get("Heading") if kind == "Start" and isinstance(value, dict) else None
                mark = heading_mark(int(opened["level"][1:])) if isinstance(opened, dict) else ""


def _pdf(name: str, content: bytes) -> list[str]:
    """Return the text of each page."""
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import DependencyError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # hide its repairs; we report failures
    try:
        reader = PdfReader(BytesIO(content))
        if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
            raise DataError(f"{name}: expected a PDF that opens without a password; save it without one")
        return [_whole_characters(page.extract_text()) for page in reader.pages]
    except DependencyError as error:
        raise DataError(f'{name}: {error}; install it with: pip install "simmim[documents]"') from error


def _whole_characters(text: str) -> str:
    """Join the halves of characters that a document names one by one; a half alone becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")


def _rtf(name: str, content: bytes) -> str:
    """Return the text of an RTF document, a line for each paragraph and row of a table."""
    from striprtf.striprtf import rtf_to_text

    if not content.startswith(b"{\\rtf") or not content.rstrip(b"\0 \t\r\n").endswith(b"}"):
        raise DataError(f"{name}: expected RTF, which begins with {{\\rtf and ends with }}; save or copy it again")
    return _whole_characters(rtf_to_text(content.decode("latin-1")))  # what is not ASCII is written as escapes


_READERS = {"DOCX": docx_text, "ODT": odt_text, "EPUB": epub_text, "RTF": _rtf}
