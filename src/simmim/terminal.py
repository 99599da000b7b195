"""Shows text of any origin in a terminal, without letting it steer the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

__all__ = ["SafeConsole", "steers_terminal", "terminal_safe"]

_JOINERS = "\u200c\u200d\u200e\u200f"  # belong to words of Persian, Hindi, Hebrew and others, and steer nothing else


class SafeConsole(Console):
    """A console that shows U+FFFD, or nothing, for every character of a text that would steer the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Give the pieces of what is shown; colours are no part of their text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_same_width(segment.text))


def _same_width(text: str) -> str:
    """Do what `terminal_safe` does to a text whose width was measured: what has none goes, or a table were cut off."""
    if text.isprintable():
        return text
    return "".join("\ufffd" * cell_len(one) if one not in "\n\t" and steers_terminal(one) else one for one in text)


def terminal_safe(text: str) -> str:
    """Take out of a text what would steer a terminal; line breaks and tabs stay.

    Args:
        text: any text.
    """
    if text.isprintable():  # most texts are
        return text
    return "".join("\ufffd" if one not in "\n\t" and steers_terminal(one) else one for one in text)


def steers_terminal(character: str) -> bool:
    """Tell whether a character, a line break or tab among them, is more than what is seen of it."""
    return character not in _JOINERS and unicodedata.category(character)[0] == "C"
