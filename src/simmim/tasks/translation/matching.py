"""Gives the marks of a block and of its translation the same numbers."""

from __future__ import annotations

import re
from collections import defaultdict

from simmim.tasks.translation.marks import MARK, Block

__all__ = ["matched_marks"]

_LANGUAGE_PARTS = re.compile(r"\b(?:en-us|zh-cn|zh_cn|fr-fr|es-es|en|fr|es)(?=[/.])", re.I)


def matched_marks(source: Block, target: Block) -> tuple[str, str]:
    """Return two texts; the marks of the second have the numbers of those of the first that stand for the same.

    Where they do not stand for the same, both texts are without marks.

    Args:
        source: a block.
        target: its translation.
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
