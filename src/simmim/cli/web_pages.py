"""Extracts the visible text of an HTML page in linear time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from simmim.cli.encodings import decode, standard_encoding
from simmim.cli.headings import MARK, heading_mark, without_marks

if TYPE_CHECKING:
    from turbohtml import Element, Node

__all__ = ["page_text"]

_UNSEEN = frozenset(
    "annotation annotation-xml audio canvas datalist dialog frame head iframe meter nav noembed noframes noscript "
    "progress rp script style template title video".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote body br button caption center dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li listing main menu ol optgroup "
    "option p plaintext pre search section select summary table tbody td textarea tfoot th thead tr ul xmp".split()
)
_KEEPS_SPACES = frozenset("listing plaintext pre textarea xmp".split())
_HIDDEN = {("display", "none"), ("visibility", "hidden"), ("visibility", "collapse")}
_COMMENT = re.compile(r"/\*.*?(?:\*/|$)", re.S)
_XML_ENCODING = re.compile(rb"""<\?xml\s[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.S)
_VOID = "area base br col embed hr img input link meta param source track wbr".replace(" ", "|")
_EMPTY = re.compile(rf"""<(?!(?:{_VOID})\b)([a-z][\w:.-]*)((?:[^<>"']|"[^"]*"|'[^']*')*)/>""", re.I)
# Characters that the parser never gives: white space that stays, where other white space means a space at most.
_LINE_END, _SPACE = "\f", "\0"
_RESERVED = str.maketrans(_LINE_END + MARK, "  ")
_HEADINGS = frozenset("h1 h2 h3 h4 h5 h6".split())


def page_text(name: str, content: bytes, encoding: str | None, *, xml: bool = False) -> str:
    """Return what a reader of a page sees, a line for each block; headings have marks, see `simmim.cli.headings`.

    Args:
        name: the name of the document in an error.
        content: its bytes.
        encoding: what the user named; None takes what the page declares, or UTF-8.
        xml: it is XHTML: there `<title/>` is empty, while in HTML all that follows is a title.

    Raises:
        DataError: a byte is not valid in the encoding.
        ConfigError: the encoding does not exist.
    """
    import turbohtml

    text = decode(name, content, encoding, _declared(content) if encoding is None else None)
    if xml:  # and not by a reader of XML, which gives up at the first fault and does not know `&nbsp;`
        text = _EMPTY.sub(r"<\1\2></\1>", _CDATA.sub(lambda found: escape(found[1]), text))
    page = turbohtml.parse(text, positions=False, scripting=True)
    lines = (" ".join(line.split()) for line in "".join(_pieces(page)).split(_LINE_END))
    return "\n".join(line.replace(_SPACE, " ").rstrip() for line in lines if without_marks(line)[0].strip(_SPACE))


def _declared(content: bytes) -> str | None:
    """Return the encoding that a page declares in a `meta` element or an XML declaration, if the standard has it."""
    import turbohtml

    page = turbohtml.parse(content, positions=False, scripting=True)
    if page.encoding != "windows-1252" or page.encoding_confidence == "certain":
        return page.encoding
    declaration = _XML_ENCODING.match(content[:1024])  # browsers ignore it
    found = standard_encoding(declaration[1].decode("latin-1")) if declaration is not None else None
    # an ASCII declaration contradicts UTF-16
    return "UTF-8" if found is not None and found.startswith("UTF-16") else found


def _pieces(page: Node) -> Iterator[str]:
    """Yield the text of the nodes in order, without recursion, since pages may nest deeply."""
    from turbohtml import Element, Text

    open_nodes: list[tuple[Iterator[Node], str, bool]] = [(iter(page.children), "", False)]
    while open_nodes:
        children, closing, keeps_spaces = open_nodes[-1]
        node = next(children, None)
        if node is None:
            open_nodes.pop()
            yield closing
        elif isinstance(node, Text):
            text = node.data.translate(_RESERVED)
            if keeps_spaces:
                text = text.expandtabs().replace(" ", _SPACE).replace("\n", _LINE_END)
            yield text
        elif isinstance(node, Element) and not _is_unseen(node):
            edge = _LINE_END if node.tag in _BLOCKS else ""
            yield edge + (heading_mark(int(node.tag[1])) if node.tag in _HEADINGS else "")
            open_nodes.append((iter(node.children), edge, keeps_spaces or node.tag in _KEEPS_SPACES))


def _is_unseen(element: Element) -> bool:
    """Tell whether an element is invisible; `aria-hidden` elements are visible."""
    if element.tag in _UNSEEN:
        return element.tag != "dialog" or element.attr("open") is None
    hidden, role, style = element.attr("hidden"), element.attr("role"), element.attr("style")
    if hidden is not None and hidden.lower() != "until-found":  # `until-found` is a collapsed section, like `details`
        return True
    if role and "navigation" in role.lower().split():
        return True
    return style is not None and not _HIDDEN.isdisjoint(_declarations(style))


def _declarations(style: str) -> list[tuple[str, str]]:
    """Return the effective declarations of a style: the last one of each property."""
    pairs = (part.partition(":") for part in _COMMENT.sub("", style).lower().split(";"))
    last = {key.strip(): value.partition("!")[0].strip() for key, _, value in pairs}
    return list(last.items())
