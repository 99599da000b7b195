"""Checks a translated block against its source: marks, numbers, length."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from simmim.tasks.translation.marks import MARK, Mark

__all__ = ["mark_faults", "missing_numbers", "numbers_of"]

_NUMBER = re.compile(r"(?<![A-Za-z_])\d+(?:[.,’'\u00a0\u202f\u2009 ]\d+)*")
_CHINESE_DIGITS = re.compile(r"[零〇一二两三四五六七八九十百千万]")


def mark_faults(marks: Sequence[Mark], text: str) -> list[str]:
    """Say what is wrong with the marks of a translation.

    Args:
        marks: those of the source block.
        text: the translation.

    Returns:
        What is wrong, in a few words each: marks that are missing, more than once there or unknown, and elements whose
        beginning and end would not be in each other.
    """
    found = [int(number) for number in MARK.findall(text)]
    counts = Counter(found)
    faults = [f"mark {{{number}}} is missing" for number in range(1, len(marks) + 1) if not counts[number]]
    faults += [f"mark {{{number}}} is there {count} times" for number, count in counts.items() if count > 1]
    faults += [f"mark {{{number}}} is unknown" for number in counts if number > len(marks)]
    if not faults and not _is_nested([marks[number - 1] for number in found], list(marks)):
        faults.append("elements overlap")
    return faults


def _is_nested(found: list[Mark], marks: list[Mark]) -> bool:
    """Tell whether elements are closed in the order that they allow; those open at either end keep their order."""
    opened = {number for mark in marks for number in mark.opens}
    closed = {number for mark in marks for number in mark.closes}
    stack: list[int] = []
    for mark in found:
        for number in mark.closes:
            if number not in opened:  # begins before the block
                if stack:
                    return False
            elif not stack or stack.pop() != number:
                return False
        stack += mark.opens
    if any(number in closed for number in stack):
        return False

    def loose(sequence: list[Mark]) -> list[int]:
        return [
            number
            for mark in sequence
            for number in (*mark.closes, *mark.opens)
            if (number in opened) != (number in closed)
        ]

    return loose(found) == loose(marks)


def numbers_of(text: str) -> Counter[str]:
    """Count the numbers of a text, by their digits alone: 1,000 and 1 000 are the same, and so are 3.5 and 3,5."""
    plain = unicodedata.normalize("NFKC", MARK.sub(" ", text))
    return Counter("".join(filter(str.isdigit, found)) for found in _NUMBER.findall(plain))


def missing_numbers(source: str, translation: str) -> list[str]:
    """Return the numbers of a source that its translation lacks; one digit may be a word there.

    Args:
        source: the source block.
        translation: its translation.
    """
    missing = numbers_of(source) - numbers_of(translation)
    present = "".join(filter(str.isdigit, unicodedata.normalize("NFKC", MARK.sub(" ", translation))))
    written_out = len(_CHINESE_DIGITS.findall(translation))
    kept = []
    for number in missing.elements():
        if number in present:  # joined or divided in another way
            continue
        if len(number) == 1 and written_out:
            written_out -= 1
            continue
        kept.append(number)
    return kept
