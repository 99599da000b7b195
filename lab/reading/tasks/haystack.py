"""Cuts prose into sentences and takes stretches of it as the text around needles and documents."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

__all__ = ["Haystack", "make_haystacks", "split_of"]

_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=[A-Z\"'])")
_LONGEST = 600  # characters; a longer sentence is left out, so that a document comes close to its length
_SHARED = 40  # characters; a sentence as long as this is in one split only


@dataclass(frozen=True)
class Haystack:
    """Prose of one split.

    Attributes:
        split: The split that it is for.
        units: Sentences, each with the space or the empty line after it.
    """

    split: str
    units: tuple[str, ...]

    @cached_property
    def size(self) -> int:
        """Count the characters."""
        return sum(map(len, self.units))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """List the different words of five to ten small letters that belong to this split alone."""
        found = {word for unit in self.units for word in re.findall(r"\b[a-z]{5,10}\b", unit)}
        return tuple(sorted(word for word in found if split_of(word) == self.split))

    def draw(self, rng: random.Random, length: int) -> list[str]:
        """Take a stretch of whole sentences from a random place on, the start again after the end.

        Args:
            rng: Says where it begins.
            length: The most characters; the stretch is at most a sentence shorter.

        Raises:
            ValueError: There is not as much text.
        """
        if length > self.size:
            raise ValueError(f"haystack {self.split}: expected at most {self.size:,} characters, got {length:,}")
        place = rng.randrange(len(self.units))
        taken: list[str] = []
        while length > 0:
            unit = self.units[place]
            if len(unit) > length:
                break
            taken.append(unit)
            length -= len(unit)
            place = (place + 1) % len(self.units)
        return taken


def split_of(name: str) -> str:
    """Give a third of all names to `settings` and the rest to `scored`, always the same."""
    return "settings" if sha256(name.encode()).digest()[0] % 3 == 0 else "scored"


def make_haystacks(texts: Iterable[tuple[str, str]]) -> dict[str, Haystack]:
    """Make the haystack of either split out of named texts.

    Args:
        texts: Names and texts; the name says which split a text is in. A sentence of the settings that the scored
            texts also have is left out.
    """
    parts: dict[str, list[str]] = {"settings": [], "scored": []}
    for name, text in texts:
        parts[split_of(name)].extend(_units(text))
    scored = {unit.strip() for unit in parts["scored"] if len(unit.strip()) >= _SHARED}
    parts["settings"] = [unit for unit in parts["settings"] if unit.strip() not in scored]
    return {split: Haystack(split, tuple(units)) for split, units in parts.items()}


def _units(text: str) -> Iterable[str]:
    """Yield the sentences of a text; the last of a paragraph has an empty line after it."""
    for paragraph in re.split(r"\n\s*\n", text):
        sentences = _SENTENCE.split(" ".join(paragraph.split()))
        fitting = [sentence for sentence in sentences if 0 < len(sentence) <= _LONGEST]
        for place, sentence in enumerate(fitting, start=1):
            yield sentence + ("\n\n" if place == len(fitting) else " ")
