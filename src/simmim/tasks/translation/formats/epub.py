"""E-books (EPUB): the chapters, the table of contents and the title."""

from __future__ import annotations

import re
from collections.abc import Sequence

from simmim.errors import DataError
from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.formats.archives import ArchiveDocument, read_members
from simmim.tasks.translation.formats.characters import declared_encoding, decoded
from simmim.tasks.translation.formats.html import escape_markup, html_blocks, open_html
from simmim.tasks.translation.marks import Block

__all__ = ["EpubDocument", "open_epub"]

_PAGE = re.compile(r".*\.(?:xhtml|html|htm)", re.I)
_CONTENTS = frozenset(
    "ncx head doctitle docauthor navmap navpoint navlabel pagelist pagetarget navlist text meta".split()
)
_PACKAGE = frozenset("package metadata manifest spine guide meta title creator date identifier language item".split())


class EpubDocument(ArchiveDocument):
    """An e-book."""

    def rendered_parts(self, texts: Sequence[str], language: str | None) -> dict[str, bytes]:
        """Return what the members become; the package says which language the book is in."""
        changed = super().rendered_parts(texts, language)
        if language is not None:
            for name in (name for name in changed if name.endswith(".opf")):
                changed[name] = re.sub(rb"(<dc:language[^>]*>)[^<]*", rb"\g<1>" + language.encode(), changed[name])
        return changed


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
