"""The baseline of a translation memory: the translation of the nearest block that is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher

__all__ = ["NearestBlock"]

_CANDIDATES = 20
_COMMON = 200  # a word of more blocks than this does not tell them apart


class NearestBlock:
    """Finds the known block that has the most in common with another, and gives its translation.

    Candidates are the 20 blocks that share the most rare words; the nearest has the highest ratio of `difflib` over
    characters, as in a translation memory.

    Args:
        sources: the known blocks.
        targets: their translations.
    """

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        self._sources, self._targets = sources, targets
        self._words: dict[str, list[int]] = defaultdict(list)
        for index, source in enumerate(sources):
            for word in set(_words(source)):
                self._words[word].append(index)

    def __call__(self, source: str) -> tuple[str, float]:
        """Return the translation of the nearest block, and how near it is, from 0 to 1.

        Where no known block shares a word, the block itself is returned, with 0.
        """
        shared: dict[int, float] = defaultdict(float)
        lists = sorted((self._words[word] for word in set(_words(source)) if word in self._words), key=len)
        for indices in lists:
            if len(indices) <= _COMMON or not shared:
                weight = 1 / len(indices)
                for index in indices[: 10 * _COMMON]:
                    shared[index] += weight
        best, nearness = -1, 0.0
        for index in sorted(shared, key=shared.__getitem__, reverse=True)[:_CANDIDATES]:
            matcher = SequenceMatcher(None, source, self._sources[index], autojunk=False)
            if matcher.real_quick_ratio() > nearness and matcher.quick_ratio() > nearness:
                found = matcher.ratio()
                if found > nearness:
                    best, nearness = index, found
        return (self._targets[best], nearness) if best >= 0 else (source, 0.0)


def _words(text: str) -> list[str]:
    """Cut a text into words; of Chinese, into pairs of characters."""
    words: list[str] = []
    for word in text.casefold().split():
        if any("\u3040" <= character <= "\u9fff" for character in word):
            words += [word[start : start + 2] for start in range(max(1, len(word) - 1))]
        else:
            words.append(word.strip(".,;:!?()[]\"'«»“”"))
    return [word for word in words if word]
