"""Says where in a document a character stands."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

__all__ = ["line_and_page", "page_of"]


def line_and_page(text: str, pages: Sequence[int], index: int) -> tuple[int, int | None]:
    """Return line and page of a character, from 1; no page where `pages`, the first character of each, is empty."""
    return text.count("\n", 0, index) + 1, page_of(pages, index)


def page_of(pages: Sequence[int], index: int) -> int | None:
    """Return the page of a character, from 1; None where there are no pages."""
    return bisect_right(pages, index) or None if pages else None
