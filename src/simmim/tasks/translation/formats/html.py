"""HTML and XHTML pages: blocks are what stands between the tags of block elements."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.marks import Block, Piece, make_block
from simmim.tasks.translation.markup import Token, attribute, tokens

__all__ = ["HtmlDocument", "escape_markup", "html_blocks", "open_html"]

BLOCKS = frozenset(
    "address article aside blockquote body button caption center col colgroup dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html label legend li link "
    "main menu meta nav ol optgroup option p search section select summary table tbody td tfoot th thead title tr ul "
    "base noscript input template".split()
)
UNTOUCHED = frozenset("script style pre xmp listing textarea svg math object audio video canvas iframe".split())
CODE = frozenset("code kbd samp var tt".split())
VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())


def escape_markup(text: str) -> str:
    """Write a text as HTML and XML have it between tags."""
    return html.escape(text, quote=False)


@dataclass(frozen=True)
class HtmlDocument(SpanDocument):
    """A page, which names its language."""

    def render(self, texts: Sequence[str], language: str | None = None) -> bytes:
        """Return the page with these texts in place of its own, and its language."""
        written = self.written(texts)
        if language is not None:
            opening = re.search(r"<html\b[^>]*>", written, re.I)
            if opening is not None:
                tag = re.sub(r"""(\s(?:xml:)?lang=)(["'])[^"']*\2""", rf"\1\2{language}\2", opening[0])
                written = written[: opening.start()] + tag + written[opening.end() :]
        return self.encode(written)


def open_html(source: str, encode: Callable[[str], bytes], *, xml: bool = False) -> HtmlDocument:
    """Find the blocks of a page.

    Args:
        source: its characters.
        encode: turns characters into the bytes of a file.
        xml: whether it is XHTML.
    """
    return HtmlDocument(source, list(html_blocks(source, xml=xml)), escape_markup, encode)


def html_blocks(source: str, *, xml: bool = False, blocks: frozenset[str] = BLOCKS) -> Iterator[Block]:
    """Yield the blocks of a page; `pre`, scripts and elements with `translate="no"` have none.

    Args:
        source: its characters.
        xml: whether it is XHTML, or another language in XML.
        blocks: the names of the elements that a block does not go beyond.
    """
    pieces: list[Piece] = []
    key = ""
    whole: list[str] = []  # the open elements inside of an untouched one, which is one piece of markup
    began = 0
    for token in tokens(source, xml=xml):
        name = token.name.lower().rpartition(":")[2] if xml else token.name
        if whole:
            _follow(whole, token, name)
            if not whole:
                pieces.append(Piece(began, token.end))
            continue
        if token.kind == "open" and name not in VOID and _is_untouched(token, name):
            if name in blocks or name == "pre":
                yield from _finished(source, pieces, key)
            whole, began = [name], token.start
        elif token.kind == "text":
            pieces.append(Piece(token.start, token.end, html.unescape(source[token.start : token.end])))
        elif name in blocks:
            yield from _finished(source, pieces, key)
            if token.kind != "close":
                identifier = attribute(token, "id") or attribute(token, "name") or ""
                key = f"{name}#{identifier}"
            else:
                key = f"/{name}"
        else:
            paired = token.kind in ("open", "close") and name not in VOID
            label = f"/{name}" if token.kind == "close" else name
            pieces.append(Piece(token.start, token.end, None, label if paired else ""))
    yield from _finished(source, pieces, key)


def _finished(source: str, pieces: list[Piece], key: str) -> Iterator[Block]:
    block = make_block(source, pieces, escape_markup, key)
    pieces.clear()
    if block is not None:
        yield block


def _is_untouched(token: Token, name: str) -> bool:
    if name in UNTOUCHED or name in CODE or attribute(token, "translate") == "no":
        return True
    return "notranslate" in (attribute(token, "class") or "").split()


def _follow(open_names: list[str], token: Token, name: str) -> None:
    """Keep count of the elements of the same name inside an untouched one."""
    if name != open_names[0]:
        return
    if token.kind == "open":
        open_names.append(name)
    elif token.kind == "close":
        open_names.pop()
