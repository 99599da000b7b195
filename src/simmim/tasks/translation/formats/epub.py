"""E-books (EPUB): the chapters, the table of contents and the title."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from simmim.errors import DataError
from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.formats.archives import read_members, with_members
from simmim.tasks.translation.formats.characters import declared_encoding, decoded
from simmim.tasks.translation.formats.docx import rendered_parts
from simmim.tasks.translation.formats.html import escape_markup, html_blocks, open_html
from simmim.tasks.translation.marks import Block

__all__ = ["EpubDocument", "open_epub"]

_PAGE = re.compile(r".*\.(?:xhtml|html|htm)", re.I)
_CONTENTS = frozenset(
    "ncx head doctitle docauthor navmap navpoint navlabel pagelist pagetarget navlist text meta".split()
)
_PACKAGE = frozenset("package metadata manifest spine guide meta title creator date identifier language item".split())


@dataclass(frozen=True)
class EpubDocument:
    """An e-book."""

    content: bytes
    parts: dict[str, SpanDocument]

    @cached_property
    def blocks(self) -> Sequence[Block]:
        """The blocks of all chapters, in the order of the archive."""
        return [block for part in self.parts.values() for block in part.blocks]

    def render(self, texts: Sequence[str], language: str | None = None) -> bytes:
        """Return the e-book with these texts in place of its own."""
        changed = rendered_parts(self.parts, texts, language)
        if language is not None:
            for name in (name for name in changed if name.endswith(".opf")):
                written = re.sub(rb"(<dc:language[^>]*>)[^<]*", rb"\g<1>" + language.encode(), changed[name])
                changed[name] = written
        return with_members(self.content, changed)


def open_epub(name: str, content: bytes) -> EpubDocument:
    """Find the blocks of an e-book.

    Args:
        name: the name of the file, for an error.
        content: its bytes.

    Raises:
        DataError: it is no e-book, or a chapter is not in its encoding; one with copy protection cannot be read.
    """
    members = read_members(name, content)
    if "META-INF/container.xml" not in members:
        raise DataError(f"{name}: expected an e-book (.epub), got an archive without META-INF/container.xml")
    if "META-INF/rights.xml" in members:
        raise DataError(f"{name}: expected an e-book without copy protection")
    parts: dict[str, SpanDocument] = {}
    for member, data in members.items():
        suffix = member.rpartition(".")[2].lower()
        if not _PAGE.fullmatch(member) and suffix not in ("ncx", "opf"):
            continue
        text, encode = decoded(f"{name}/{member}", data, declared_encoding(data), references=True)
        if suffix in ("ncx", "opf"):
            parts[member] = SpanDocument(text, _named(text, suffix), escape_markup, encode)
        else:
            parts[member] = open_html(text, encode, xml=True)
    return EpubDocument(content, parts)


def _named(text: str, suffix: str) -> list[Block]:
    """Return the titles in a table of contents, or that of the book."""
    names = _CONTENTS if suffix == "ncx" else _PACKAGE
    wanted = ("text#",) if suffix == "ncx" else ("title#",)
    return [block for block in html_blocks(text, xml=True, blocks=names) if block.key.startswith(wanted)]
