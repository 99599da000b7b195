"""PO files of gettext: messages without a translation get one; the others stay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polib

from simmim.errors import DataError
from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.marks import Block, Piece, make_block
from simmim.tasks.translation.matching import matched_marks

__all__ = ["PoDocument", "open_po", "translated_messages"]

# how many forms of the plural a language has, and which one a number takes, as gettext's manual lists them
_PLURALS = {
    **dict.fromkeys("da de el en eo es et fi hu it nb nl pt sv tr".split(), "nplurals=2; plural=(n != 1);"),
    **dict.fromkeys(["fr", "pt-br"], "nplurals=2; plural=(n > 1);"),
    **dict.fromkeys("id ja ko ms th vi zh".split(), "nplurals=1; plural=0;"),
}


@dataclass(frozen=True)
class _Slot:
    """A translation to be written: where it goes, and the message cut into blocks, one a line."""

    entry: Any
    plural: int | None
    message: SpanDocument


@dataclass(frozen=True)
class PoDocument:
    """A PO file, written as polib writes it: lines are wrapped anew."""

    catalogue: Any
    slots: Sequence[_Slot]

    @cached_property
    def blocks(self) -> Sequence[Block]:
        """The lines of the messages without a translation."""
        return [block for slot in self.slots for block in slot.message.blocks]

    def render(self, texts: Sequence[str], language: str | None = None) -> bytes:
        """Return the file with these texts as translations of the messages."""
        position = 0
        singular_only = language is not None and "nplurals=1" in _PLURALS.get(language.lower(), "")
        for slot in self.slots:
            count = len(slot.message.blocks)
            written = slot.message.render(texts[position : position + count]).decode("utf-8", errors="surrogatepass")
            position += count
            if slot.plural is None:
                slot.entry.msgstr = written
            elif singular_only:
                slot.entry.msgstr_plural = {0: written}  # the plural, which comes last, holds for every number
            else:
                slot.entry.msgstr_plural[slot.plural] = written
        if language is not None:
            self.catalogue.metadata["Language"] = language.replace("-", "_")
            if language.lower() in _PLURALS:
                self.catalogue.metadata["Plural-Forms"] = _PLURALS[language.lower()]
        text = str(self.catalogue)
        return f"{text.rstrip()}\n".encode(self.catalogue.encoding or "utf-8")


def open_po(name: str, content: bytes) -> PoDocument:
    """Find the messages that have no translation.

    Args:
        name: the name of the file, for an error.
        content: its bytes.

    Raises:
        DataError: it is no PO file.
    """
    catalogue = _read(name, content)
    slots = [slot for entry in catalogue if not entry.obsolete for slot in _slots(entry)]
    return PoDocument(catalogue, slots)


def translated_messages(name: str, content: bytes) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """Return the messages that have a translation which is not fuzzy; of plurals the first form.

    Args:
        name: the name of the file, for an error.
        content: its bytes.

    Returns:
        The two languages, the second empty where the file names none, and each message with its translation.

    Raises:
        DataError: it is no PO file.
    """
    catalogue = _read(name, content)
    pairs = []
    for entry in catalogue:
        written = entry.msgstr_plural.get(0) if entry.msgid_plural else entry.msgstr
        if not entry.msgid or not written or entry.obsolete or entry.fuzzy:
            continue
        sides = [_message(text).blocks for text in (entry.msgid, written)]
        if len(sides[0]) == len(sides[1]):
            pairs += [matched_marks(*both) for both in zip(*sides, strict=True)]
    languages = (catalogue.metadata.get("X-Source-Language", "en"), catalogue.metadata.get("Language", ""))
    return languages, pairs


def _read(name: str, content: bytes) -> Any:
    declared = re.search(rb"Content-Type:[^\n]*charset=([\w.:-]+)", content[:4096])
    encoding = declared[1].decode("ascii") if declared and declared[1] != b"CHARSET" else "utf-8"
    try:
        text = content.decode(encoding)
        if "msgid" not in text:  # polib takes a text without line ends for the path of a file
            raise ValueError("no msgid")
        return polib.pofile(f"{text}\n", encoding=encoding, wrapwidth=_width(text))
    except (OSError, ValueError, LookupError) as error:
        raise DataError(f"{name}: expected a PO file, cannot read it ({error}); check it with msgfmt") from error


def _width(text: str) -> int:
    """Return the width at which a file breaks its lines; 0 where it does not."""
    longest = max((len(line) for line in text.splitlines() if line.startswith('"')), default=78)
    return 0 if longest > 90 else 78


def _slots(entry: Any) -> list[_Slot]:
    if not entry.msgid_plural:
        return [] if entry.msgstr or not entry.msgid else [_Slot(entry, None, _message(entry.msgid))]
    if any(entry.msgstr_plural.values()):
        return []
    messages = [entry.msgid, entry.msgid_plural]
    return [_Slot(entry, number, _message(message)) for number, message in enumerate(messages)]


def _message(text: str) -> SpanDocument:
    blocks, start = [], 0
    for line in text.splitlines(keepends=True):
        block = make_block(text, list(_pieces(text, start, start + len(line))), str)
        start += len(line)
        if block is not None:
            blocks.append(block)
    return SpanDocument(text, blocks, str, lambda written: written.encode("utf-8", errors="surrogatepass"))


def _pieces(text: str, start: int, end: int) -> list[Piece]:
    """Cut a line at its tags, which messages of graphical programs have."""
    pieces, position = [], start
    for found in re.compile(r"</?([A-Za-z][\w-]*)(?:\s[^<>]*)?/?>").finditer(text, start, end):
        pieces.append(Piece(position, found.start(), text[position : found.start()]))
        name = "" if found[0].endswith("/>") else f"/{found[1]}" if found[0][1] == "/" else found[1]
        pieces.append(Piece(found.start(), found.end(), None, name))
        position = found.end()
    return [*pieces, Piece(position, end, text[position:end])]
