"""Extracts the text of documents: plain text, Markdown, HTML and PDF."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath

from simmim.cli.encodings import decode
from simmim.cli.web_pages import page_text
from simmim.errors import DataError, SimMIMError

__all__ = ["SUFFIXES", "Extracted", "check_library", "extract", "kind_of"]

_PLAIN = (".txt", ".text", ".rst")
_MARKDOWN = (".md", ".markdown")
_HTML = (".html", ".htm", ".xhtml")
_PDF = (".pdf",)
SUFFIXES = (*_PLAIN, *_MARKDOWN, *_HTML, *_PDF)
"""File name extensions that are read from a folder."""

_LIBRARIES = {"Markdown": "pyromark", "HTML": "turbohtml", "PDF": "pypdf"}
_INLINE = frozenset("Emphasis Strong Strikethrough Superscript Subscript Link Image".split())


@dataclass(frozen=True)
class Extracted:
    """Holds the text of a document.

    Attributes:
        text: the whole text.
        note: what is missing from the text; empty if nothing is.
    """

    text: str
    note: str = ""


def kind_of(name: str, content: bytes) -> str:
    """Return the format of a document, by its extension or a PDF header: `text`, `Markdown`, `HTML` or `PDF`."""
    suffix = PurePath(name).suffix.lower()
    if suffix in _PDF or content.startswith(b"%PDF-"):
        return "PDF"
    return "HTML" if suffix in _HTML else "Markdown" if suffix in _MARKDOWN else "text"


def check_library(name: str, content: bytes) -> None:
    """Refuse a document whose library is not installed.

    Raises:
        DataError: the library is missing; the error has the command that installs it.
    """
    kind = kind_of(name, content)
    library = _LIBRARIES.get(kind)
    if library is not None and importlib.util.find_spec(library) is None:
        raise DataError(f'{name}: {kind} needs the package {library}; install it with: pip install "simmim[documents]"')


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
    return Extracted(found.text.replace("\r\n", "\n").replace("\r", "\n"), found.note)


def _read(kind: str, name: str, content: bytes, encoding: str | None) -> Extracted:
    if kind == "PDF":
        return _pdf(name, content)
    if kind == "HTML":
        return Extracted(page_text(name, content, encoding))
    text = decode(name, content, encoding)
    return Extracted("\n\n".join(_markdown(text)) if kind == "Markdown" else text)


def _markdown(text: str) -> Iterator[str]:
    """Yield the text of each block of Markdown; code and embedded HTML stay as they are."""
    import pyromark

    block: list[str] = []
    for event in pyromark.events(text, options=pyromark.Options.ENABLE_TABLES):
        if event in ("SoftBreak", "HardBreak"):
            block.append("\n")
        elif isinstance(event, dict):
            [(kind, value)] = event.items()
            tag = next(iter(value)) if isinstance(value, dict) else value
            if kind not in ("Start", "End"):
                block.append(str(value))
            elif tag not in _INLINE:
                line = "".join(block).strip("\n")
                block.clear()
                if line.strip():
                    yield line


def _pdf(name: str, content: bytes) -> Extracted:
    """Return the text of all pages, and a note on pages without text."""
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import DependencyError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # hide its repairs; we report failures
    try:
        reader = PdfReader(BytesIO(content))
        if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
            raise DataError(f"{name}: expected a PDF that opens without a password; save it without one")
        pages = [_whole_characters(page.extract_text()).strip() for page in reader.pages]
    except DependencyError as error:
        raise DataError(f'{name}: {error}; install it with: pip install "simmim[documents]"') from error
    if not any(pages):
        raise DataError(
            f"{name}: expected a PDF with text, its {len(pages)} pages hold none; "
            "if they are scanned, let a program for text recognition add it"
        )
    blank = [str(number) for number, page in enumerate(pages, 1) if not page]
    note = f"no text on {len(blank)} of {len(pages)} pages ({', '.join(blank[:5])}{', …' if blank[5:] else ''})"
    return Extracted("\n\n".join(page for page in pages if page), note if blank else "")


def _whole_characters(text: str) -> str:
    """Join surrogate pairs, which fonts of a PDF map one by one; lone surrogates become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")
