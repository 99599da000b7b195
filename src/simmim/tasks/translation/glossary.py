"""Holds terms that have to be translated in a fixed way."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from simmim.errors import DataError
from simmim.tasks.translation.marks import MARK

__all__ = ["Glossary", "read_glossary"]

_CHINESE = r"\u3040-\u30ff\u3400-\u9fff"


class Glossary:
    """Terms and their translations.

    Args:
        terms: each term of the source language, and its translation.
    """

    def __init__(self, terms: Mapping[str, str]) -> None:
        self._terms = {term.casefold(): translation for term, translation in terms.items()}
        ordered = sorted(terms, key=len, reverse=True)
        word = rf"[^\W{_CHINESE}]"
        self._pattern = re.compile(
            "|".join(
                (rf"(?<!{word})" if re.match(word, term) else "")
                + re.escape(term)
                + (rf"(?!{word})" if re.search(f"{word}$", term) else "")
                for term in ordered
            )
            or r"(?!)",
            re.I,
        )

    def __len__(self) -> int:
        return len(self._terms)

    def replaced(self, text: str, first: int) -> tuple[str, list[str]]:
        """Put marks instead of terms.

        Args:
            text: a block with marks.
            first: the number of the first new mark.

        Returns:
            The text, and what each new mark stands for: the translation, with a capital where the term has one.
        """
        found: list[str] = []

        def mark(match: re.Match[str]) -> str:
            translation = self._terms[match[0].casefold()]
            capital = match[0][:1].isupper() and translation[:1].islower() and not match[0].isupper()
            found.append(translation[:1].upper() + translation[1:] if capital else translation)
            return f"{{{first + len(found) - 1}}}"

        parts, position = [], 0
        for other in MARK.finditer(text):  # a term is no part of a mark
            parts += [self._pattern.sub(mark, text[position : other.start()]), other[0]]
            position = other.end()
        parts.append(self._pattern.sub(mark, text[position:]))
        return "".join(parts), found


def read_glossary(path: Path) -> Glossary:
    """Read a glossary: a term and its translation a line, with a comma, a semicolon or a tab between.

    Args:
        path: the file, in UTF-8. A line that begins with `#` is a comment.

    Raises:
        DataError: the file cannot be read, or a line has no two fields, or two lines translate a term differently.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, byte {error.start} is not; convert the file") from error
    readings = {delimiter: _rows(text, delimiter) for delimiter in "\t;,"}
    fitting = (one for one, rows in readings.items() if all(len(fields) > 1 and all(fields[:2]) for _, fields in rows))
    terms: dict[str, str] = {}
    for number, fields in readings[next(fitting, ",")]:
        if len(fields) < 2 or not all(fields[:2]):
            raise DataError(f"{path}:{number}: expected a term and its translation, got {','.join(fields)!r}")
        if terms.get(fields[0], fields[1]) != fields[1]:
            raise DataError(
                f"{path}:{number}: expected one translation of {fields[0]!r}, got {fields[1]!r} after "
                f"{terms[fields[0]]!r}; remove one of them"
            )
        terms[fields[0]] = fields[1]
    return Glossary(terms)


def _rows(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the number and the fields of each line that is no comment."""
    rows = enumerate(csv.reader(text.splitlines(), delimiter=delimiter), start=1)
    fields = ((number, [field.strip() for field in row]) for number, row in rows)
    return [(number, row) for number, row in fields if any(row) and not row[0].startswith("#")]
