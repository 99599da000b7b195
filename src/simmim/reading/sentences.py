"""Cuts a text into sentences, with their positions."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["sentences"]

# the end of a sentence, a blank line, or the end of a line that begins a list item, a heading or a table row
_END = re.compile(
    r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9À-Þ])|(?<=[。！？；])|\n\s*\n\s*|\n(?=\s*(?:[-*•#|]|\d+[.)]\s))"
)
_LONGEST = 600
_SHORTEST = 24


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each sentence; short ones join the next, long ones are cut at a space.

    Args:
        text: of any language; the ends of sentences are those of Western and Chinese punctuation, and blank lines.
    """
    begin = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        if end - begin < _SHORTEST and end < len(text) and "\n\n" not in text[begin:end]:
            continue
        while end - begin > _LONGEST:
            cut = text.rfind(" ", begin + _LONGEST // 2, begin + _LONGEST)
            cut = begin + _LONGEST if cut < 0 else cut + 1
            if text[begin:cut].strip():
                yield begin, cut
            begin = cut
        if text[begin:end].strip():
            yield begin, end
        begin = end
