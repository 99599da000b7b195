"""Checks that a string is valid Unicode: tokenizers, files and terminals refuse lone surrogates."""

from __future__ import annotations

from simmim.errors import DataError

__all__ = ["check_text", "unicode_fault"]


def unicode_fault(text: str) -> str:
    """Return why a string is not valid Unicode; empty if it is.

    Python strings may contain lone surrogates: from escapes in JSON, or from bytes of a file name or an argument that
    are not UTF-8 (PEP 383).
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
    """Refuse a value that no tokenizer can encode.

    Raises:
        DataError: it is not a string, or contains a lone surrogate.
    """
    if not isinstance(text, str):
        raise DataError(f"{name}: expected a text (str), got {type(text).__name__}")
    fault = unicode_fault(text)
    if fault:
        raise DataError(f"{name}: expected valid Unicode text, {fault}; remove it, or convert its source to UTF-8")
