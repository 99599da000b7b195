"""Holds a document as its source and the blocks in it, and writes translations over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from simmim.tasks.translation.marks import Block, restore

__all__ = ["Document", "SpanDocument", "splice"]


class Document(Protocol):
    """A document that can be translated."""

    @property
    def blocks(self) -> Sequence[Block]:
        """What is translated, in the order of the document."""

    def render(self, texts: Sequence[str], language: str | None = None) -> bytes:
        """Return the document with these texts, one for each block, in place of its own.

        Args:
            texts: the texts; where one is that of its block, the document stays as it is there.
            language: what the document declares to be in, where its format can; None leaves it.
        """


@dataclass(frozen=True)
class SpanDocument:
    """A document of which everything outside the blocks stays as it is, to the last byte.

    Attributes:
        source: its characters.
        blocks: its blocks, in order; they do not overlap.
        escape: writes a text as the document has it.
        encode: turns characters into bytes.
    """

    source: str
    blocks: Sequence[Block]
    escape: Callable[[str], str]
    encode: Callable[[str], bytes]

    def render(self, texts: Sequence[str], language: str | None = None) -> bytes:
        """Return the document with these texts in place of its own."""
        return self.encode(splice(self.source, self.blocks, texts, self.escape))


def splice(
    source: str,
    blocks: Sequence[Block],
    texts: Sequence[str],
    escape: Callable[[str], str],
    finish: Callable[[str], str] = str,
) -> str:
    """Write texts over blocks; a block whose text is unchanged keeps its characters.

    Args:
        source: the document.
        blocks: in order, without overlap.
        texts: one for each block.
        escape: writes a text as the document has it.
        finish: mends what has been written for a block.
    """
    parts: list[str] = []
    position = 0
    for block, text in zip(blocks, texts, strict=True):
        parts.append(source[position : block.start])
        unchanged = text == block.text
        parts.append(source[block.start : block.end] if unchanged else finish(restore(block, text, escape)))
        position = block.end
    parts.append(source[position:])
    return "".join(parts)
