"""Reads translated pages to learn from: JSON lines, TMX, XLIFF, PO, or two texts whose lines belong together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simmim.errors import DataError

__all__ = ["Page", "read_pages"]


@dataclass(frozen=True)
class Page:
    """Blocks that follow each other, in two languages.

    Attributes:
        source_language: the language of `source`, such as `en`.
        target_language: the language of `target`.
        source: the blocks.
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
        path: `.jsonl` with `source_language`, `target_language` and the lists `source` and `target` of as many blocks.

    Raises:
        DataError: the file cannot be read, or a page is broken.
    """
    if path.suffix == ".jsonl":
        yield from _json_lines(path)
    else:
        raise DataError(f"{path}: expected a file that ends in .jsonl; convert it")


def _json_lines(path: Path) -> Iterator[Page]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _page(line, f"{path}:{number}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, byte {error.start} is not; convert the file") from error


def _page(line: str, place: str) -> Page:
    wanted = "an object with the texts source_language and target_language and the lists of texts source and target"
    try:
        row = json.loads(line)
        page = Page(row["source_language"], row["target_language"], row["source"], row["target"], place)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{place}: expected {wanted}; {type(error).__name__}: {error}") from error
    languages = (page.source_language, page.target_language)
    sides = (page.source, page.target)
    if not all(isinstance(name, str) for name in languages) or not all(
        isinstance(side, list) and all(isinstance(text, str) for text in side) for side in sides
    ):
        raise DataError(f"{place}: expected {wanted}, got values of other types")
    if len(page.source) != len(page.target):
        raise DataError(
            f"{place}: expected as many blocks in target as in source ({len(page.source)}), got {len(page.target)}"
        )
    return page
