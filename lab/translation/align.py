"""Aligns the blocks of two versions of a page, gives their marks the same numbers, and refuses what is no translation."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from simmim.tasks.translation.marks import MARK, Block

__all__ = ["aligned", "is_translation", "matched_marks"]

_LANGUAGE_PARTS = re.compile(r"\b(?:en-us|zh-cn|zh_cn|fr-fr|es-es|en|fr|es)(?=[/.])", re.I)
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_LONGEST = 4000  # characters


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
    matcher = SequenceMatcher(None, *keys, autojunk=False)
    found = 0
    for first, second, size in matcher.get_matching_blocks():
        found += size
        for place in range(size):
            pair = matched_marks(source[first + place], target[second + place])
            if strict and not _agree(source[first + place], target[second + place], pair):
                dropped["marks or numbers differ"] += 1
            else:
                yield pair
    dropped["block without a partner"] += len(source) - found


def matched_marks(source: Block, target: Block) -> tuple[str, str]:
    """Return the two texts; the marks of the second have the numbers of those of the first that stand for the same.

    Where they do not stand for the same, both texts are without marks.
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, mark in enumerate(source.marks, start=1):
        numbers[_folded(mark.source)].append(number)
    new: list[int] = []
    for mark in target.marks:
        waiting = numbers[_folded(mark.source)]
        if not waiting:
            break
        new.append(waiting.pop(0))
    if len(new) < len(target.marks) or any(numbers.values()):
        return _plain(source.text), _plain(target.text)
    return source.text, MARK.sub(lambda found: f"{{{new[int(found[1]) - 1]}}}", target.text)


def _folded(source: str) -> str:
    """Fold what differs between two versions of the same tag: the name of a language in an address, a title."""
    source = re.sub(r"""\s(?:title|alt|hreflang|xml:lang|lang)=(?:"[^"]*"|'[^']*')""", "", source)
    return re.sub(r"\s+", " ", _LANGUAGE_PARTS.sub("", source)).replace("\\f[R]", "\\fP").replace("\\fR", "\\fP")


def _plain(text: str) -> str:
    return re.sub(r" +", " ", MARK.sub("", text)).strip()


def _agree(source: Block, target: Block, pair: tuple[str, str]) -> bool:
    if (source.marks or target.marks) and not MARK.search(pair[0]):
        return False
    return sorted(re.findall(r"\d+", source.text)) == sorted(re.findall(r"\d+", target.text))


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
        if not chinese or _WORD.search(target) and chinese < 0.15 * len(target):
            return "hardly any Chinese in it"
        ratio = len(source) / (len(target) + 1.5 * chinese)
    else:
        if chinese:
            return "Chinese in it"
        ratio = len(source) / len(target)
    if max(len(source), len(target)) > 20 and not 1 / 2.5 < ratio < 2.5:
        return "lengths do not fit"
    return ""
