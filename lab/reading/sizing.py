"""Makes documents of a wanted number of tokens out of makers that count characters."""

from __future__ import annotations

from collections.abc import Callable

from lab.reading.tasks.cases import Case

__all__ = ["fit_length"]


def fit_length(make: Callable[[int], list[Case]], wanted: int, tokens: Callable[[str], int]) -> list[Case]:
    """Return cases of which none has more tokens than wanted, and the longest hardly fewer.

    Prose has 4 to 5 characters in a token, lists of packages 2.4, so the same characters would make some documents
    longer than a model's window.

    Args:
        make: makes cases of at most so many characters.
        wanted: tokens of the longest case.
        tokens: counts the tokens of a text.
    """
    characters, best = 4 * wanted, None
    for _ in range(8):
        cases = make(characters)
        longest = max(tokens(case.text) for case in cases)
        if longest <= wanted:
            best = cases
            if longest >= 0.97 * wanted:
                break
        characters = int(characters * 0.99 * wanted / longest)
    if best is None:
        raise ValueError(f"{cases[0].name}: expected at most {wanted:,} tokens, its shortest form has {longest:,}")
    return best
