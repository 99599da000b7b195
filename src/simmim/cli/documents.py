"""Takes the text out of documents: plain text, Markdown, HTML and PDF."""

from __future__ import annotations

import codecs
import importlib.util
import logging
import re
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath
from typing import Any

from simmim.errors import ConfigError, DataError

__all__ = ["SUFFIXES", "Extracted", "check_encoding", "check_libraries", "extract"]

_PLAIN = (".txt", ".text", ".rst")
_MARKDOWN = (".md", ".markdown")
_HTML = (".html", ".htm", ".xhtml")
_PDF = (".pdf",)
SUFFIXES = (*_PLAIN, *_MARKDOWN, *_HTML, *_PDF)
"""Ends of the names of the files that are read where a folder is named."""

_LIBRARIES = {"bs4": ("HTML", _HTML), "pypdf": ("PDF", _PDF)}
_UNSEEN = ("script", "style", "template", "noscript", "head")
_BLOCKS = tuple(
    "address article aside blockquote br caption dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 "
    "header hr li main nav ol p pre section table td th tr ul".split()
)


@dataclass(frozen=True)
class Extracted:
    """Holds the text of a document.

    Attributes:
        text: the whole text.
        note: what of the document is not in the text; empty if nothing is missing.
    """

    text: str
    note: str = ""


def check_encoding(encoding: str) -> None:
    """Refuse an encoding that Python does not know.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        "a".encode(encoding)
    except LookupError as error:
        raise ConfigError(f"--encoding: expected a text encoding such as latin-1, got {encoding!r}") from error


def check_libraries(names: list[str]) -> None:
    """Refuse documents that need a library which is not installed.

    Args:
        names: the documents' files.

    Raises:
        ConfigError: a library is missing; it is named, with the command that installs it.
    """
    suffixes = {_suffix(name) for name in names}
    for library, (_, read) in _LIBRARIES.items():
        if suffixes & set(read):
            _require(library)


def extract(name: str, content: bytes, encoding: str | None = None) -> Extracted:
    """Take the text out of a document, whose kind is that of its name's ending.

    Args:
        name: the name of its file.
        content: what is in it.
        encoding: of text, Markdown and HTML; None is UTF-8, or what an HTML document says of itself.

    Returns:
        The whole text, with newlines at the ends of lines.

    Raises:
        DataError: it cannot be read as what it was said to be, or holds no text.
        ConfigError: it needs a library that is not installed.
    """
    if not content:
        raise DataError(f"{name}: expected a text, the file is empty")
    suffix = _suffix(name)
    if suffix in _PDF or content.startswith(b"%PDF-"):
        found = _pdf(name, content)
    elif suffix in _HTML:
        found = Extracted(_html(name, content, encoding))
    else:
        text = _decode(name, content, encoding)
        found = Extracted(_markdown(text) if suffix in _MARKDOWN else text)
    if not found.text.strip():
        raise DataError(f"{name}: expected a text, the file {'is blank' if found.text else 'holds none'}")
    return Extracted(found.text.replace("\r\n", "\n").replace("\r", "\n"), found.note)


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower()


def _require(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        kind, _ = _LIBRARIES[library]
        raise ConfigError(f'{kind} needs the package {library}; install it with: pip install "simmim[documents]"')


def _decode(name: str, content: bytes, encoding: str | None) -> str:
    """Decode text, or say at which byte it is none."""
    if encoding is None:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{name}: expected text in UTF-8, got the byte order mark of UTF-16; try --encoding utf-16")
        if b"\0" in content:
            raise DataError(
                f"{name}: expected text in UTF-8, got a binary file (NUL byte at offset {content.index(0)}); "
                "save it as plain UTF-8 text"
            )
    try:
        text = content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        # the decoder counts from behind a byte order mark
        offset = error.start + (len(content) - len(error.object) if encoding is None else 0)
        what = f"got byte 0x{content[offset]:02x} at offset {offset}"
        if encoding is None:
            raise DataError(
                f"{name}: expected text in UTF-8, {what}; convert the file, "
                "or name its encoding with --encoding NAME, for instance latin-1"
            ) from error
        raise DataError(f"{name}: expected text in {encoding}, {what}; name its own with --encoding NAME") from error
    if "\0" in text:
        raise DataError(f"{name}: expected text in {encoding}, got a NUL character at {text.index(chr(0))}")
    return text


def _markdown(text: str) -> str:
    """Return the words of Markdown, a blank line between blocks; code and embedded HTML stay as they are."""
    from markdown_it import MarkdownIt

    def words(token: Any) -> str:
        if token.type in ("softbreak", "hardbreak"):
            return "\n"
        return token.content if token.type != "image" else "".join(map(words, token.children))

    blocks = MarkdownIt("commonmark").enable("table").parse(text)
    lines = ("".join(map(words, block.children)) if block.children is not None else block.content for block in blocks)
    return "\n\n".join(line.strip("\n") for line in lines if line.strip())


def _html(name: str, content: bytes, encoding: str | None) -> str:
    """Return what a reader of a page sees, a line for each block."""
    _require("bs4")
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(content, is_html=True)
    try:
        codecs.lookup(declared or "")
    except LookupError:
        declared = None
    text = _decode(name, content, encoding or (declared if declared not in (None, "utf-8") else None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of text that looks like a file name or an address to it
        soup = BeautifulSoup(text, "html.parser")
    for element in soup(_UNSEEN):
        element.decompose()
    for element in soup(_BLOCKS):
        element.insert_before("\f")
        element.insert_after("\f")
    # white space means nothing in HTML; what \f stands for is an end of line
    lines = (" ".join(line.split()) for line in re.sub(r"[^\S\f]+", " ", soup.get_text()).split("\f"))
    return "\n".join(line for line in lines if line)


def _pdf(name: str, content: bytes) -> Extracted:
    """Return the text of all pages, and which of them have none."""
    _require("pypdf")
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import DependencyError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it mends silently is its business, the rest we say
    try:
        reader = PdfReader(BytesIO(content))
        if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
            raise DataError(f"{name}: expected a PDF that opens without a password; save it without one")
        pages = [page.extract_text().strip() for page in reader.pages]
    except DataError:
        raise
    except DependencyError as error:
        raise ConfigError(f'{name}: {error}; install it with: pip install "simmim[documents]"') from error
    except Exception as error:  # a damaged PDF makes pypdf fail in many ways
        raise DataError(f"{name}: expected a PDF, cannot read it: {str(error) or type(error).__name__}") from error
    if not any(pages):
        raise DataError(
            f"{name}: expected a PDF with text, its {len(pages)} pages hold none; "
            "if they are scanned, let a program for text recognition add it"
        )
    blank = [str(number) for number, page in enumerate(pages, 1) if not page]
    note = f"no text on {len(blank)} of {len(pages)} pages ({', '.join(blank[:5])}{', …' if blank[5:] else ''})"
    return Extracted("\n\n".join(page for page in pages if page), note if blank else "")
