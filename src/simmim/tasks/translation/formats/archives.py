"""ZIP archives whose members are translated: opened within limits, written again with some members changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from zipfile import BadZipFile, ZipFile

from simmim.errors import DataError
from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.marks import Block

__all__ = ["ArchiveDocument", "read_members"]

_UNPACKED, _UNPACKED_PER_BYTE = 2**27, 32  # bytes: what unpacks to more is no document


@dataclass(frozen=True)
class ArchiveDocument:
    """An archive whose members are translated.

    Attributes:
        content: the archive.
        parts: the members that have blocks.
    """

    content: bytes
    parts: dict[str, SpanDocument]

    @cached_property
    def blocks(self) -> Sequence[Block]:
        """The blocks of all members, in the order of the archive."""
        return [block for part in self.parts.values() for block in part.blocks]

    def render(self, texts: Sequence[str], language: str | None = None) -> bytes:
        """Return the archive with these texts in place of its own."""
        return _with_members(self.content, self.rendered_parts(texts, language))

    def rendered_parts(self, texts: Sequence[str], language: str | None) -> dict[str, bytes]:
        """Return what the members become with these texts in place of their own."""
        waiting = iter(texts)
        return {name: part.render([next(waiting) for _ in part.blocks], language) for name, part in self.parts.items()}


def read_members(name: str, content: bytes) -> dict[str, bytes]:
    """Return the members of an archive.

    Args:
        name: the name of the file, for an error.
        content: its bytes.

    Raises:
        DataError: it is no ZIP archive, has a password, or unpacks to too much.
    """
    try:
        with ZipFile(BytesIO(content)) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > _UNPACKED + _UNPACKED_PER_BYTE * len(content):
                raise DataError(f"{name}: expected a document, got an archive that unpacks to {size:,} bytes")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError, OSError) as error:
        raise DataError(f"{name}: expected a whole archive without a password, cannot read it ({error})") from error


def _with_members(content: bytes, changed: Mapping[str, bytes]) -> bytes:
    """Return an archive with some members changed; the order, dates and compression of all stay.

    Args:
        content: the archive.
        changed: the new content of members, by name. If none differs, the archive is returned as it is.
    """
    stream = BytesIO()
    with ZipFile(BytesIO(content)) as archive:
        if all(archive.read(name) == data for name, data in changed.items()):
            return content
        with ZipFile(stream, "w") as written:
            for entry in archive.infolist():
                data = changed.get(entry.filename)
                written.writestr(entry, archive.read(entry) if data is None else data, entry.compress_type)
    return stream.getvalue()
