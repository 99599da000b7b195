"""Checks that a string is Unicode text: tokenizers, files and terminals take no half characters."""

from __future__ import annotations

from simmim.errors import DataError

__all__ = ["check_text", "unicode_fault"]


def unicode_fault(text: str) -> str:
    """Say why a string is no Unicode text; empty where it is.

    Python strings may hold lone surrogates: `json` reads them from a cut escape, and bytes of a file name or an
    argument that are no UTF-8 become some (PEP 383).

    Args:
        text: any string.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        byte = code - 0xDC00
        what = f"byte 0x{byte:02x}, which is no UTF-8," if 0x80 <= byte <= 0xFF else f"half a character (U+{code:04X})"
        return f"got {what} at offset {error.start}"
    return ""


def check_text(name: str, text: object) -> None:
    """Refuse what no tokenizer can encode.

    Args:
        name: what the error calls it.
        text: what should be a text.

    Raises:
        DataError: it is no string, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise DataError(f"{name}: expected a text (str), got {type(text).__name__}")
    fault = unicode_fault(text)
    if fault:
        raise DataError(f"{name}: expected valid Unicode text, {fault}; remove it, or convert its source to UTF-8")
