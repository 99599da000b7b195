"""Turns the bytes of a file into characters, and characters back into bytes of the same encoding."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from simmim.errors import ConfigError, DataError

__all__ = ["declared_encoding", "decoded"]

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DECLARED = re.compile(
    rb"""<\?xml\s[^>]*?encoding\s*=\s*["']([\w.:-]+)|<meta\s[^>]*?charset\s*=\s*["']?([\w.:-]+)""", re.I
)


def declared_encoding(content: bytes) -> str | None:
    """Return the encoding that an HTML or XML file declares; None where it declares none that is known."""
    found = _DECLARED.search(content[:1024])
    if found is None:
        return None
    name = (found[1] or found[2]).decode("ascii")
    try:
        codecs.lookup(name)
    except LookupError:
        return None
    return name


def decoded(
    name: str, content: bytes, encoding: str | None = None, *, references: bool = False
) -> tuple[str, Callable[[str], bytes]]:
    """Decode a file.

    Args:
        name: its name, for an error.
        content: its bytes.
        encoding: its encoding; None is UTF-8, or what its byte order mark says.
        references: whether a character that the encoding lacks can be written as a reference, such as `&#8217;`.

    Returns:
        The characters, and what turns characters into such bytes, with the same byte order mark.

    Raises:
        DataError: a byte is not valid in the encoding, or the file has a NUL character.
        ConfigError: there is no such encoding.
    """
    mark, codec = next(((one, codec) for one, codec in _MARKS if content.startswith(one)), (b"", encoding or "utf-8"))
    try:
        text = content[len(mark) :].decode(codec)
    except LookupError as error:
        raise ConfigError(f"--encoding: expected an encoding such as latin1 or gb18030, got {codec!r}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: expected text in {codec}, got byte 0x{content[len(mark) + error.start]:02x} at offset "
            f"{len(mark) + error.start}; convert the file, or name its encoding with --encoding NAME"
        ) from error
    if "\0" in text:
        raise DataError(f"{name}: expected text, got a NUL character at {text.index(chr(0))}; is it a binary file?")

    def encode(written: str) -> bytes:
        try:
            return mark + written.encode(codec, "xmlcharrefreplace" if references else "strict")
        except UnicodeEncodeError as error:
            raise DataError(
                f"{name}: expected a translation in {codec}, got the character {written[error.start]!r}, which it "
                "lacks; convert the file to UTF-8 first"
            ) from error

    return text, encode
