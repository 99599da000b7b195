"""Stands a mark such as `{1}` for each piece of markup, code and each placeholder in a block, and puts them back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

__all__ = ["MARK", "Block", "Mark", "Piece", "make_block", "restore", "split_marks"]

MARK = re.compile(r"\{([1-9]\d{0,3})\}")
"""What a mark looks like in a text."""

_BLANK = " \t\r\n\f"
_SPACE = re.compile(r"[ \t\r\n\f]+")  # not \s: a no-break space is a character of the text
# What a program fills in or follows, and no translator may touch: addresses, and placeholders of the usual languages.
_PLACEHOLDER = re.compile(
    r"""(?x)
    (?:https?|ftp|file)://[^\s<>"'«»“”「」，。；]*[^\s<>"'«»“”「」，。；.,;:!?)\]]
    | \b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b
    | %\([\w.-]+\)[-+#0]*\d*(?:\.\d+)?[sdiufxXcr]          # %(name)s
    | %(?:\d+\$)?[-+\#0]*\d*(?:\.\d+)?(?:hh|h|ll|l|z|j)?[sdiouxXeEfgGcp@](?![A-Za-z])  # %s %1$s %-5.2f
    | %[1-9]\d?(?!\d|\s?%)(?![A-Za-z])                      # Qt: %1
    | \$\{[^{}\s]{1,80}\}                                   # ${NAME}
    | \{\{[^{}]{1,80}\}\}                                   # {{name}}
    | \{[A-Za-z_0-9][\w.\[\]:!,]{0,60}\}                    # {name} {0} {0:.2f}
    | \$\([\w.]{1,60}\)                                     # $(ARG1)
    """
)


@dataclass(frozen=True)
class Mark:
    """What a mark in a text stands for.

    Attributes:
        source: the characters of the document.
        closes: the numbers of the elements whose end is in it, innermost first.
        opens: the numbers of those whose beginning is in it, outermost first.
    """

    source: str
    closes: tuple[int, ...] = ()
    opens: tuple[int, ...] = ()


@dataclass(frozen=True)
class Piece:
    """A piece of a block, before marks have numbers.

    Attributes:
        start: where it begins in the document.
        end: where it ends.
        text: what it says; of markup, None.
        name: of the beginning of an element, its name; of its end, `/` and the name; else empty.
        source: what markup is written as in a translated block; None stands for what is in the document, which may
            also stay outside the block.
    """

    start: int
    end: int
    text: str | None = None
    name: str = ""
    source: str | None = None


@dataclass(frozen=True)
class Block:
    """A block of a document: what is translated as one.

    Attributes:
        text: what it says, white space folded, with marks `{1}`, `{2}`, ... in it.
        marks: what these stand for.
        start: where it begins in the document.
        end: where it ends.
        key: where it stands, such as the name of its element; blocks of two versions of a page are aligned by it.
    """

    text: str
    marks: tuple[Mark, ...] = ()
    start: int = 0
    end: int = 0
    key: str = ""


def make_block(source: str, pieces: Iterable[Piece], escape: Callable[[str], str], key: str = "") -> Block | None:
    """Make a block of its pieces.

    Markup at either end stays outside. Markup with nothing but white space between is one mark.

    Args:
        source: the document.
        pieces: they follow each other without a gap.
        escape: writes a text as the document has it.
        key: see `Block`.

    Returns:
        The block; None where there is nothing to translate: no letter.
    """
    kept = _trimmed(list(pieces))
    if not any(piece.text is not None and any(map(str.isalpha, piece.text)) for piece in kept):
        return None
    items = _without_edges(list(_items(source, kept, escape)))
    if not any(isinstance(item, str) and any(map(str.isalpha, item)) for item in items):
        return None  # only an address, or a placeholder
    marks: list[Mark] = []
    parts: list[str] = []
    for item in items:
        if isinstance(item, Mark):
            marks.append(item)
            parts.append(f"{{{len(marks)}}}")
        else:
            parts.append(item)
    first, last = source[kept[0].start : kept[0].end], source[kept[-1].start : kept[-1].end]
    start = kept[0].start + len(first) - len(first.lstrip(_BLANK))
    end = kept[-1].end - len(last) + len(last.rstrip(_BLANK))
    return Block("".join(parts), tuple(marks), start, end, key)


def _trimmed(pieces: list[Piece]) -> list[Piece]:
    """Leave out markup and white space at the ends."""

    def is_blank(piece: Piece) -> bool:
        return piece.source is None and (piece.text is None or not piece.text.strip(_BLANK))

    first = next((index for index, piece in enumerate(pieces) if not is_blank(piece)), len(pieces))
    last = next((index for index in range(len(pieces), first, -1) if not is_blank(pieces[index - 1])), first)
    return pieces[first:last]


def _without_edges(items: list[str | Mark]) -> list[str | Mark]:
    return [item for item in items if item != ""]


def _items(source: str, pieces: Sequence[Piece], escape: Callable[[str], str]) -> Iterator[str | Mark]:
    """Yield texts and marks in turn."""
    numbers = _element_numbers(pieces)
    runs = [list(run) for _, run in groupby(zip(pieces, numbers, strict=True), lambda pair: _is_markup(pair[0]))]
    for index, run in enumerate(runs):
        if run[0][0].text is None or not run[0][0].text.strip(_BLANK):
            if all(piece.text is not None for piece, _ in run):  # white space between two texts
                yield " " if any(piece.text for piece, _ in run) else ""
                continue
            yield from _merged(source, run)
            continue
        text = _SPACE.sub(" ", "".join(piece.text or "" for piece, _ in run))
        if index == 0:
            text = text.lstrip(" ")
        if index == len(runs) - 1:
            text = text.rstrip(" ")
        position = 0
        for found in _PLACEHOLDER.finditer(text):
            yield text[position : found.start()]
            yield Mark(escape(found[0]))
            position = found.end()
        yield text[position:]


def _is_markup(piece: Piece) -> bool:
    return piece.text is None or not piece.text.strip(_BLANK)


def _merged(source: str, run: Sequence[tuple[Piece, int]]) -> Iterator[str | Mark]:
    """Yield one mark for a run of markup, its outer white space beside it."""
    first = next(index for index, (piece, _) in enumerate(run) if piece.text is None)
    last = next(index for index in range(len(run), 0, -1) if run[index - 1][0].text is None)
    yield " " if any(piece.text for piece, _ in run[:first]) else ""
    inner = run[first:last]
    closes: list[int] = []
    opens: list[int] = []
    for piece, number in inner:
        if piece.name.startswith("/"):
            if opens and opens[-1] == number:
                opens.pop()
            else:
                closes.append(number)
        elif piece.name:
            opens.append(number)
    written = (source[piece.start : piece.end] if piece.source is None else piece.source for piece, _ in inner)
    yield Mark("".join(written), tuple(closes), tuple(opens))
    yield " " if any(piece.text for piece, _ in run[last:]) else ""


def _element_numbers(pieces: Sequence[Piece]) -> list[int]:
    """Return the number of the element that each piece begins or ends; those without the other end have one too."""
    numbers: list[int] = []
    stack: list[tuple[str, int]] = []
    total = 0
    for piece in pieces:
        if piece.name.startswith("/"):
            match = next((index for index in range(len(stack), 0, -1) if stack[index - 1][0] == piece.name[1:]), 0)
            if match:
                numbers.append(stack[match - 1][1])
                del stack[match - 1 :]
                continue
        total += 1
        numbers.append(total)
        if piece.name and not piece.name.startswith("/"):
            stack.append((piece.name, total))
    return numbers


def split_marks(text: str) -> Iterator[str | int]:
    """Yield the texts (which may be empty) and the numbers of the marks of a text in turn, a text first and last."""
    position = 0
    for found in MARK.finditer(text):
        yield text[position : found.start()]
        yield int(found[1])
        position = found.end()
    yield text[position:]


def restore(block: Block, text: str, escape: Callable[[str], str]) -> str:
    """Write a text as the document has it, with what its marks stand for.

    Args:
        block: the block whose marks they are.
        text: the text; a mark that the block does not have is text.
        escape: writes a text as the document has it.
    """
    parts = []
    for part in split_marks(text):
        if isinstance(part, str):
            parts.append(escape(part))
        else:
            parts.append(block.marks[part - 1].source if part <= len(block.marks) else escape(f"{{{part}}}"))
    return "".join(parts)
