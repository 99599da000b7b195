"""Decodes text by the WHATWG Encoding Standard, with byte order marks; refuses invalid bytes."""

from __future__ import annotations

import codecs

from simmim.errors import ConfigError, DataError

__all__ = ["check_encoding", "decode", "standard_encoding"]

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # not in the standard; precedes UTF-16, whose mark is a prefix of this one
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_REPLACEMENT = "\ufffd"


def check_encoding(label: str) -> str:
    """Return the encoding for a label of the WHATWG Encoding Standard.

    Args:
        label: such as `latin1`, `gb2312` or `shift_jis`, in upper or lower case, or an alias of Python.

    Raises:
        ConfigError: the label is unknown, or its encoding is unsafe.
    """
    try:
        found = standard_encoding(label) or standard_encoding(codecs.lookup(label).name)  # Python has more aliases
    except (LookupError, ValueError):
        found = None
    if found is None or found in ("replacement", "x-user-defined"):
        raise ConfigError(
            f"--encoding: expected a text encoding of the WHATWG Encoding Standard, such as latin1, gb18030 or "
            f"shift_jis, got {label!r}"
        )
    return found


def standard_encoding(label: str) -> str | None:
    """Return the encoding for a label of the standard; None if the label is unknown."""
    import turbohtml

    try:
        return turbohtml.parse(b"", encoding=label).encoding
    except (LookupError, ValueError):  # ValueError for a lone surrogate
        return None


def decode(name: str, content: bytes, encoding: str | None, declared: str | None = None) -> str:
    """Decode a document; an error names the first invalid byte.

    Args:
        name: the name of the document in an error.
        content: its bytes.
        encoding: the encoding that the user chose, as for `check_encoding`, or None.
        declared: the encoding that the document declares, one of the standard, or None.

    Returns:
        The text without its byte order mark. A mark takes precedence over `encoding`, and that over `declared`; the
        default is UTF-8.

    Raises:
        DataError: a byte is not valid in the encoding, or the text contains a NUL character.
        ConfigError: as for `check_encoding`.
    """
    known = encoding and check_encoding(encoding)
    mark = next((mark for mark in _MARKS if content.startswith(mark)), None)
    named = None if mark is not None else known or declared
    if named == "replacement":
        raise DataError(f"{name}: declares an encoding that is unsafe to read; convert the file to UTF-8")
    if named is None and mark is None and b"\0" in content:
        raise DataError(
            f"{name}: expected text in UTF-8, got a binary file (NUL byte at offset {content.index(0)}); "
            "save it as plain UTF-8 text"
        )
    if named in (None, "UTF-8", "UTF-16LE", "UTF-16BE"):
        text = _unicode(name, content, _MARKS[mark] if mark is not None else named or "utf-8", named is None)
    else:
        text = _legacy(name, content, named)
    if "\0" in text:
        raise DataError(
            f"{name}: expected text, got a NUL character at {text.index(chr(0))}; "
            "save it as plain UTF-8 text, or name its encoding with --encoding NAME"
        )
    return text


def _unicode(name: str, content: bytes, codec: str, default: bool) -> str:
    try:
        return content.decode(codec)
    except UnicodeDecodeError as error:
        # the offset of the utf-8-sig decoder excludes the mark
        offset = error.start + len(content) - len(error.object)
        shown = codec.removesuffix("-sig").upper()
        remedy = "convert the file, or name its encoding with --encoding NAME, for instance latin1"
        raise DataError(
            f"{name}: expected text in {shown}, got byte 0x{content[offset]:02x} at offset {offset}; "
            f"{remedy if default and shown == 'UTF-8' else 'name its own with --encoding NAME'}"
        ) from error


def _legacy(name: str, content: bytes, encoding: str) -> str:
    """Decode a legacy encoding; U+FFFD, which none of them contains, marks an error."""
    import turbohtml.detect  # noqa: F401  (registers the codecs of the standard)

    codec = f"whatwg-{encoding.lower()}"
    text = content.decode(codec)
    valid = text.find(_REPLACEMENT)
    if valid < 0:
        return text
    # find the shortest prefix that decodes to all valid characters, by bisection
    low, high = 0, len(content) - 1
    while low < high:
        middle = (low + high) // 2
        decoded = content[:middle].decode(codec)
        found = decoded.find(_REPLACEMENT)
        if (len(decoded) if found < 0 else found) < valid:
            low = middle + 1
        else:
            high = middle
    # skip an escape sequence of ISO-2022-JP, which is valid but gives no character
    low = max(end for end in range(low, min(low + 4, len(content))) if content[:end].decode(codec) == text[:valid])
    raise DataError(
        f"{name}: expected text in {encoding}, got byte 0x{content[low]:02x} at offset {low}; "
        "name its own with --encoding NAME"
    )
