"""Opens ZIP archives within limits and writes them again with some members changed."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from zipfile import BadZipFile, ZipFile

from simmim.errors import DataError

__all__ = ["read_members", "with_members"]

_UNPACKED, _UNPACKED_PER_BYTE = 2**27, 32  # bytes: what unpacks to more is no document


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


def with_members(content: bytes, changed: Mapping[str, bytes]) -> bytes:
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
