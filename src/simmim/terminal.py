"""Shows untrusted text in a terminal without its control characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

__all__ = ["SafeConsole", "steers_terminal", "terminal_safe"]

_JOINERS = "\u200c\u200d\u200e\u200f"  # occur in words of Persian, Hindi, Hebrew and others, and are harmless


class SafeConsole(Console):
    """A console that replaces control characters by U+FFFD or, if they have no width, removes them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments without control characters in their text; styles stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_same_width(segment.text))


def _same_width(text: str) -> str:
    """Replace control characters without a change of the measured width, on which tables rely."""
    if text.isprintable():
        return text
    return "".join(
        "\ufffd" * cell_len(character) if character not in "\n\t" and steers_terminal(character) else character
        for character in text
    )


def terminal_safe(text: str) -> str:
    """Replace control characters by U+FFFD; line breaks and tabs stay.

    Args:
        text: any text.
    """
    if text.isprintable():  # most texts are
        return text
    return "".join(
        "\ufffd" if character not in "\n\t" and steers_terminal(character) else character for character in text
    )


def steers_terminal(character: str) -> bool:
    """Tell whether a character is a control character, including line breaks and tabs."""
    return character not in _JOINERS and unicodedata.category(character)[0] == "C"
