"""Aligns the blocks of two versions of a page, and refuses what is no translation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from simmim.tasks.translation.marks import MARK, Block
from simmim.tasks.translation.matching import matched_marks

__all__ = ["aligned", "is_translation"]

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_LONGEST = 4000  # characters
_MOST_COMPARED = 400 * 400  # the time that finding common runs takes grows with it


def aligned(
    source: Sequence[Block], target: Sequence[Block], *, strict: bool, dropped: Counter[str]
) -> Iterator[tuple[str, str]]:
    """Yield the texts of the blocks that stand in the same place.

    Args:
        source: the blocks of a page.
        target: those of its translation.
        strict: whether marks and numbers have to agree, as where nothing but the sequence of macros says what belongs
            together.
        dropped: gains the number of blocks without a partner, and of pairs refused, by reason.
    """
    keys = [block.key for block in source], [block.key for block in target]
    found = 0
    for first, second, size in _matches(*keys):
        found += size
        for place in range(size):
            pair = matched_marks(source[first + place], target[second + place])
            if strict and not _agree(source[first + place], target[second + place], pair):
                dropped["marks or numbers differ"] += 1
            else:
                yield pair
    dropped["block without a partner"] += len(source) - found


def _agree(source: Block, target: Block, pair: tuple[str, str]) -> bool:
    if (source.marks or target.marks) and not MARK.search(pair[0]):
        return False
    return sorted(re.findall(r"\d+", source.text)) == sorted(re.findall(r"\d+", target.text))


def _matches(first: Sequence[str], second: Sequence[str]) -> Sequence[tuple[int, int, int]]:
    """Return the runs of keys that two pages have in common; of long pages that differ, those at the ends."""
    if first == second:
        return [(0, 0, len(first))]
    if len(first) * len(second) <= _MOST_COMPARED:
        return SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    short = min(len(first), len(second))
    lead = next((place for place in range(short) if first[place] != second[place]), short)
    trail = next((place for place in range(short - lead) if first[-1 - place] != second[-1 - place]), short - lead)
    return [(0, 0, lead), (len(first) - trail, len(second) - trail, trail)]


def is_translation(source: str, target: str, language: str, dropped: Counter[str]) -> bool:
    """Tell whether a text may be the translation of another into a language; `dropped` gains the reason if not."""
    reason = _fault(MARK.sub("", source), MARK.sub("", target), language)
    if reason:
        dropped[reason] += 1
    return not reason


def _fault(source: str, target: str, language: str) -> str:
    if source.strip() == target.strip():
        return "untranslated"
    if not _WORD.search(source) or not target.strip():
        return "no word"
    if max(len(source), len(target)) > _LONGEST:
        return "longer than 4,000 characters"
    chinese = len(_CHINESE.findall(target))
    if language == "zh":
        if not chinese or (_WORD.search(target) and chinese < 0.15 * len(target)):
            return "hardly any Chinese in it"
        ratio = len(source) / (len(target) + 1.5 * chinese)
    else:
        if chinese:
            return "Chinese in it"
        ratio = len(source) / len(target)
    if max(len(source), len(target)) > 20 and not 1 / 2.5 < ratio < 2.5:
        return "lengths do not fit"
    return ""
