"""Holds a document as its source and the blocks in it, and writes translations over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from simmim.tasks.translation.marks import Block, restore

__all__ = ["Document", "SpanDocument"]


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
        finish: gets what a block was and what is written for it, and returns that as the format wants it.
    """

    source: str
    blocks: Sequence[Block]
    escape: Callable[[str], str]
    encode: Callable[[str], bytes]
    finish: Callable[[str, str], str] = lambda old, new: new

    def render(self, texts: Sequence[str], language: str | None = None) -> bytes:
        """Return the document with these texts in place of its own."""
        return self.encode(self.written(texts))

    def written(self, texts: Sequence[str]) -> str:
        """Return the characters with texts over blocks; a block whose text is unchanged keeps its characters."""
        parts, position = [], 0
        for block, text in zip(self.blocks, texts, strict=True):
            old = self.source[block.start : block.end]
            new = old if text == block.text else self.finish(old, restore(block, text, self.escape))
            parts += [self.source[position : block.start], new]
            position = block.end
        return "".join(parts) + self.source[position:]
