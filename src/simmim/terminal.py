"""Shows untrusted text in a terminal without its control characters."""

from __future__ import annotations

import unicodedata

__all__ = ["printable", "steers_terminal", "terminal_safe"]

_JOINERS = "\u200c\u200d\u200e\u200f"  # occur in words of Persian, Hindi, Hebrew and others, and are harmless


def terminal_safe(text: str) -> str:
    """Replace control characters by U+FFFD; line breaks and tabs stay."""
    if text.isprintable():  # most texts are
        return text
    return "".join(
        "\ufffd" if character not in "\n\t" and steers_terminal(character) else character for character in text
    )


def steers_terminal(character: str) -> bool:
    """Tell whether a character is a control character, including line breaks and tabs."""
    return character not in _JOINERS and unicodedata.category(character)[0] == "C"


def printable(text: str) -> str:
    """Put a text on one line and take out what would steer a terminal."""
    return " ".join("".join(" " if steers_terminal(character) else character for character in text).split())
