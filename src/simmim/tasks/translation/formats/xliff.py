"""XLIFF 1.2 and 2: segments without a translation get one; the others, and everything else, stay to the last byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from simmim.tasks.translation.formats.html import escape_markup
from simmim.tasks.translation.marks import Block, make_block, restore
from simmim.tasks.translation.markup import attribute, coded_pieces, tokens

__all__ = ["Unit", "XliffDocument", "open_xliff", "read_units", "segment_block"]

# elements whose content is code of the original document
_CODES = frozenset("bpt ept it ph x bx ex cp sc ec sm em pc-code".split())
_PAIRED = frozenset("g pc mrk sub".split())


@dataclass(frozen=True)
class Unit:
    """A segment: where its source and its target stand.

    Attributes:
        source: where the content of its source begins and ends.
        source_end: where the element of the source ends.
        target: where the content of its target begins and ends; None where it has none.
        target_element: where the element of the target begins and ends.
        languages: of the source and the target, as the file names them.
        blocked: whether it is not to be translated.
    """

    source: tuple[int, int]
    source_end: int
    target: tuple[int, int] | None
    target_element: tuple[int, int] | None
    languages: tuple[str, str]
    blocked: bool


@dataclass(frozen=True)
class XliffDocument:
    """An XLIFF file with the segments in it that have no translation."""

    text: str
    units: Sequence[Unit]
    blocks: Sequence[Block]
    encode: Callable[[str], bytes]

    def render(self, texts: Sequence[str], language: str | None = None) -> bytes:
        """Return the file with these texts as targets."""
        parts, position = [], 0
        for unit, block, text in zip(self.units, self.blocks, texts, strict=True):
            lead, trail = self.text[unit.source[0] : block.start], self.text[block.end : unit.source[1]]
            inner = self.text[block.start : block.end] if text == block.text else restore(block, text, escape_markup)
            if unit.target_element is None:
                start = end = unit.source_end
                written = f"<target>{lead}{inner}{trail}</target>"
            else:
                start, end = unit.target_element
                opening = re.match(r"<[^>]*>", self.text[start:])
                assert opening is not None
                tag = opening[0][:-2].rstrip() + ">" if opening[0].endswith("/>") else opening[0]
                name = re.match(r"<([^\s/>]+)", tag)
                assert name is not None
                written = f"{tag}{lead}{inner}{trail}</{name[1]}>"
            parts += [self.text[position:start], written]
            position = end
        found = "".join(parts) + self.text[position:]
        return self.encode(_in_language(found, language) if language is not None else found)


def _in_language(text: str, language: str) -> str:
    """Name the target language in the elements that name the source language."""

    def named(found: re.Match[str]) -> str:
        wanted = "trgLang" if found[2] == "srcLang" else "target-language"
        tag = re.sub(rf"""\s{wanted}=(?:"[^"]*"|'[^']*')""", "", found[0])
        return tag.replace(f"{found[2]}=", f'{wanted}="{language}" {found[2]}=', 1)

    return re.sub(r"<(file|xliff)\b[^>]*?\b(srcLang|source-language)=[^>]*>", named, text)


def open_xliff(source: str, encode: Callable[[str], bytes]) -> XliffDocument:
    """Find the segments that have no translation.

    Args:
        source: the characters of the file.
        encode: turns characters into its bytes.
    """
    units, blocks = [], []
    for unit in read_units(source):
        has_target = unit.target is not None and re.sub(r"<[^>]*>|\s", "", source[slice(*unit.target)])
        if unit.blocked or has_target:
            continue
        block = segment_block(source, unit.source)
        if block is not None:
            units.append(unit)
            blocks.append(block)
    return XliffDocument(source, units, blocks, encode)


def read_units(source: str) -> Iterator[Unit]:
    """Yield the segments of an XLIFF file.

    Args:
        source: its characters.
    """
    languages, blocked, inside, depth = ("", ""), [False], "", 0
    parts: dict[str, tuple[int, int, int, int]] = {}  # of source and target: element and content
    started: tuple[int, int] = (0, 0)
    for token in tokens(source, xml=True):
        name = token.name.rpartition(":")[2]
        if name in ("file", "xliff") and token.kind == "open":
            source_language = attribute(token, "source-language") or attribute(token, "srcLang")
            target_language = attribute(token, "target-language") or attribute(token, "trgLang")
            languages = (source_language or languages[0], target_language or languages[1])
        if name == "alt-trans":
            depth += {"open": 1, "close": -1}.get(token.kind, 0)
        if depth:
            continue
        if name in ("source", "target"):
            if token.kind == "empty":
                parts[name] = (token.start, token.end, token.end, token.end)
            elif token.kind == "open" and not inside:
                inside, started = name, (token.start, token.end)
            elif token.kind == "close" and name == inside:
                parts[name], inside = (started[0], token.end, started[1], token.start), ""
        if name in ("trans-unit", "segment") and token.kind == "close" and "source" in parts:
            yield _unit(parts, languages, blocked[-1])
        if name in ("trans-unit", "segment"):
            parts = {}
        if name in ("trans-unit", "unit", "group", "file"):
            if token.kind == "open":
                wanted = attribute(token, "translate")
                blocked.append(blocked[-1] if wanted is None else wanted == "no")
            elif token.kind == "close" and len(blocked) > 1:
                blocked.pop()


def _unit(parts: dict[str, tuple[int, int, int, int]], languages: tuple[str, str], blocked: bool) -> Unit:
    source, target = parts["source"], parts.get("target")
    return Unit(
        source[2:],
        source[1],
        None if target is None else target[2:],
        None if target is None else target[:2],
        languages,
        blocked,
    )


def segment_block(source: str, span: tuple[int, int]) -> Block | None:
    """Return the content of a segment as a block; None where it has no word.

    Args:
        source: the characters of the file.
        span: where the content begins and ends.
    """
    return make_block(source, coded_pieces(source, *span, _CODES, _PAIRED), escape_markup)
