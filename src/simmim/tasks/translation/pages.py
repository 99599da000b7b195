"""Reads translated pages: JSON lines, TMX, XLIFF, PO, or two texts whose lines belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simmim.errors import DataError
from simmim.tasks.translation.formats.characters import declared_encoding, decoded
from simmim.tasks.translation.formats.html import escape_markup
from simmim.tasks.translation.marks import Block, make_block
from simmim.tasks.translation.markup import attribute, coded_pieces, tokens
from simmim.tasks.translation.matching import matched_marks

__all__ = ["Page", "read_memory", "read_pages"]

_TWO_TEXTS = re.compile(r"(.*)\{([\w-]+),([\w-]+)\}(.*)", re.S)
_CODES = frozenset("bpt ept it ph ut sub".split())
_Sides = dict[tuple[str, str], tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Page:
    """Blocks that follow each other, in two languages.

    Attributes:
        source_language: the language of `source`, such as `en`.
        target_language: the language of `target`.
        source: the blocks, with marks.
        target: their translations, one each.
        name: what an error calls it.
    """

    source_language: str
    target_language: str
    source: Sequence[str]
    target: Sequence[str]
    name: str = ""


def read_pages(path: Path) -> Iterator[Page]:
    """Yield the pages of a file.

    Args:
        path: one of

            - `.jsonl`: a page a line, with `source_language`, `target_language`, and the lists `source` and `target` of
              as many blocks;
            - `.tmx`, `.xlf`, `.xliff`: a page for each pair of languages; the first of a TMX unit is its source;
            - `.po`: what is translated and not fuzzy, from English unless `X-Source-Language` says otherwise;
            - `texts.{en,fr}`: the files `texts.en` and `texts.fr`; a line is a block, a blank line in both ends a page.

    Raises:
        DataError: the file cannot be read, or a page is broken.
    """
    two = _TWO_TEXTS.fullmatch(str(path))
    if two:
        yield from _two_texts(path, *two.groups())
        return
    readers = {".jsonl": _json_lines, ".tmx": _tmx, ".xlf": _xliff, ".xliff": _xliff, ".po": _po}
    if path.suffix.lower() not in readers:
        raise DataError(
            f"{path}: expected a file that ends in {', '.join(readers)}, or two texts such as texts.{{en,fr}}; "
            "convert it"
        )
    yield from readers[path.suffix.lower()](path)


def read_memory(path: Path, source: str, target: str) -> dict[str, str]:
    """Read translations of whole blocks from a file of `read_pages`, such as a TMX file, in either direction.

    Args:
        path: the file.
        source: the language of the documents.
        target: the language to write.
    """
    found: dict[str, str] = {}
    for page in read_pages(path):
        languages = (_base(page.source_language), _base(page.target_language))
        if languages == (_base(source), _base(target)):
            found |= dict(zip(page.source, page.target, strict=True))
        elif languages == (_base(target), _base(source)):
            found |= dict(zip(page.target, page.source, strict=True))
    return found


def _base(language: str) -> str:
    return re.split("[-_]", language.lower())[0]


def _read(path: Path) -> str:
    content = path.read_bytes()
    return decoded(str(path), content, declared_encoding(content))[0]


def _json_lines(path: Path) -> Iterator[Page]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _page(line, f"{path}:{number}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, byte {error.start} is not; convert the file") from error


def _page(line: str, position: str) -> Page:
    wanted = "an object with the texts source_language and target_language and the lists of texts source and target"
    try:
        row = json.loads(line)
        page = Page(row["source_language"], row["target_language"], row["source"], row["target"], position)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{position}: expected {wanted}; {type(error).__name__}: {error}") from error
    languages = (page.source_language, page.target_language)
    sides = (page.source, page.target)
    if not all(isinstance(name, str) for name in languages) or not all(
        isinstance(side, list) and all(isinstance(text, str) for text in side) for side in sides
    ):
        raise DataError(f"{position}: expected {wanted}, got values of other types")
    if len(page.source) != len(page.target):
        raise DataError(
            f"{position}: expected as many blocks in target as in source ({len(page.source)}), got {len(page.target)}"
        )
    return page


def _tmx(path: Path) -> Iterator[Page]:
    text = _read(path)
    sides: _Sides = {}
    unit: list[tuple[str, Block]] = []
    language, began = "", -1
    for token in tokens(text, xml=True):
        if token.name == "tu":
            unit = [] if token.kind == "open" else unit
            if token.kind == "close" and len(unit) > 1:
                (first, source), *others = unit
                for second, target in others:
                    _add(sides, (first, second), source, target)
        elif token.name == "tuv" and token.kind == "open":
            language = (attribute(token, "xml:lang") or attribute(token, "lang") or "").lower()
        elif token.name == "seg":
            if token.kind == "open":
                began = token.end
            elif token.kind == "close" and began >= 0:
                block = make_block(text, coded_pieces(text, began, token.start, _CODES, ("hi",)), escape_markup)
                if block is not None:
                    unit.append((language, block))
                began = -1
    if not sides:
        raise DataError(f"{path}: expected a TMX file with units (tu) of two languages, found none")
    yield from (Page(*languages, *pair, str(path)) for languages, pair in sides.items())


def _xliff(path: Path) -> Iterator[Page]:
    from simmim.tasks.translation.formats.xliff import read_units, segment_block

    text = _read(path)
    sides: _Sides = {}
    for unit in read_units(text):
        if unit.target is None:
            continue
        source, target = segment_block(text, unit.source), segment_block(text, unit.target)
        if source is not None and target is not None:
            _add(sides, (unit.languages[0].lower(), unit.languages[1].lower()), source, target)
    if not sides:
        raise DataError(f"{path}: expected an XLIFF file with translated segments, found none")
    yield from (Page(*languages, *pair, str(path)) for languages, pair in sides.items())


def _add(sides: _Sides, languages: tuple[str, str], source: Block, target: Block) -> None:
    """Add a block and its translation to the page of their languages."""
    for side, written in zip(sides.setdefault(languages, ([], [])), matched_marks(source, target), strict=True):
        side.append(written)


def _po(path: Path) -> Iterator[Page]:
    from simmim.tasks.translation.formats.po import translated_messages

    languages, pairs = translated_messages(str(path), path.read_bytes())
    if not pairs:
        raise DataError(f"{path}: expected a PO file with translated messages, found none")
    if not languages[1]:
        raise DataError(f"{path}: expected the header Language to say what it is translated into; add it")
    source, target = zip(*pairs, strict=True)
    yield Page(*languages, source, target, str(path))


def _two_texts(path: Path, lead: str, first: str, second: str, trail: str) -> Iterator[Page]:
    sides = [_read(Path(f"{lead}{language}{trail}")).splitlines() for language in (first, second)]
    if len(sides[0]) != len(sides[1]):
        raise DataError(f"{path}: expected as many lines in both files, got {len(sides[0]):,} and {len(sides[1]):,}")
    source: list[str] = []
    target: list[str] = []
    for number, pair in enumerate(zip(*sides, strict=True), start=1):
        blank = [not text.strip() for text in pair]
        if any(blank) != all(blank):
            raise DataError(f"{path}: expected line {number} to be blank in both files or in none; mend it")
        if all(blank):
            if source:
                yield Page(first, second, source, target, f"{path}:{number}")
            source, target = [], []
        else:
            source.append(pair[0].strip())
            target.append(pair[1].strip())
    if source:
        yield Page(first, second, source, target, str(path))
