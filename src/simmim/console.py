"""A console of rich that shows untrusted text without its control characters."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from simmim.terminal import steers_terminal

__all__ = ["SafeConsole"]


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
