"""Finds out which language a text is in."""

from __future__ import annotations

from collections.abc import Iterable

from simmim.errors import DataError

__all__ = ["detect_language"]

_CHARACTERS = 5000


def detect_language(name: str, texts: Iterable[str]) -> str:
    """Find out which language a document is in.

    Args:
        name: the name of the document, for an error.
        texts: its blocks; as many are read as hold 5,000 characters.

    Returns:
        The language in ISO 639-1.

    Raises:
        DataError: there is no word to tell it by.
    """
    import py3langid

    sample, size = [], 0
    for text in texts:
        sample.append(text)
        size += len(text)
        if size > _CHARACTERS:
            break
    joined = "\n".join(sample)
    if not any(map(str.isalpha, joined)):
        raise DataError(f"{name}: expected words to tell the language by, got none; name it with --from")
    return str(py3langid.classify(joined)[0])
