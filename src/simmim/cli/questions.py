"""Asks questions about a document one after the other, those of the command line or of standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer

from simmim.cli.notices import complain
from simmim.cli.options import dtype_of
from simmim.errors import ConfigError, DataError, SimMIMError

if TYPE_CHECKING:
    from simmim.tasks.reading import Library

__all__ = ["ask_each"]


def ask_each(
    document: str,
    given: list[str] | None,
    kind: str,
    model: tuple[str | None, str | None, str | None],
    answer: Callable[[Library, str, bool], None],
) -> None:
    """Have each question answered; one that fails does not stop the others.

    Args:
        document: what the questions are about.
        given: those of the command line; None takes the lines of standard input.
        kind: what an error calls one, `question` or `query`.
        model: its name, device and dtype.
        answer: gets the open document, a question, and whether there are several.

    Raises:
        ConfigError: there are no questions, or standard input is the document.
        DataError: standard input is no UTF-8, or the document cannot be read.
    """
    if document == "-" and not given:
        raise ConfigError(f"{kind.upper()}: expected a {kind} after -, standard input is the document")
    asked = given or _piped()
    if not asked:
        raise ConfigError(f"{kind.upper()}: expected a {kind}, got none; write it after the document, or into a pipe")
    from simmim.cli.reading import open_document  # torch and transformers take seconds to import

    failed = 0
    with ExitStack() as stack:
        library = open_document(document, model[0], model[1], dtype_of(model[2]), stack)
        for question in asked:
            try:
                answer(library, question, len(asked) > 1)
            except SimMIMError as error:
                complain(error)
                failed += 1
    if failed:
        raise typer.Exit(1)


def _piped() -> list[str]:
    """Return the lines of standard input that are not blank."""
    try:
        lines = sys.stdin.buffer.read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"standard input: expected questions in UTF-8: {error}; convert them") from error
    return [line.strip() for line in lines if line.strip()]
