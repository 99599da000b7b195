"""Converts positions in a text between characters, as Python counts, and UTF-16 code units, as browsers do."""

from __future__ import annotations

import numpy as np

__all__ = ["Offsets"]


class Offsets:
    """Positions in one text. Cost: a pass over a text that is not ASCII; 8 bytes for each character beyond U+FFFF."""

    def __init__(self, text: str) -> None:
        self.characters = len(text)
        self._wide = np.zeros(0, dtype=np.int64)  # the characters that take two units
        if not text.isascii():
            self._wide = np.flatnonzero(np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32) > 0xFFFF)
        self._units = self._wide + np.arange(len(self._wide))

    @property
    def units(self) -> int:
        """Return the length of the text in code units."""
        return self.characters + len(self._wide)

    def to_units(self, character: int) -> int:
        """Return the position of a character in code units."""
        return character + int(np.searchsorted(self._wide, character))

    def all_to_units(self, characters: np.ndarray) -> np.ndarray:
        """Return positions of characters in code units, int64."""
        return characters + np.searchsorted(self._wide, characters)

    def to_character(self, unit: int) -> int:
        """Return the character at a code unit; positions outside the text are moved to its ends."""
        unit = min(max(unit, 0), self.units)
        return unit - int(np.searchsorted(self._units, unit))
