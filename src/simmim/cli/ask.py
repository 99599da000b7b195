"""The command `simmim ask`: answer questions about documents, with the passages that were read for each answer."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from simmim.cli.notices import complain
from simmim.cli.options import AsJson, CausalModel, Device, Dtype, Quiet, Verbose, dtype_of
from simmim.cli.questions import piped_questions
from simmim.errors import ConfigError, SimMIMError

__all__ = ["ask"]


def ask(
    document: Annotated[
        str, typer.Argument(metavar="DOCUMENT", help="What simmim read wrote, or a file, which is read first.")
    ],
    questions: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUESTION...", help="What to ask; none reads a question a line from standard input."),
    ] = None,
    model: CausalModel = None,
    passages: Annotated[int, typer.Option(min=1, help="Segments that are read for an answer, with neighbours.")] = 3,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Answer questions about documents of any length, and show the passages that were read for each answer."""
    if document == "-" and not questions:
        raise ConfigError("QUESTION: expected a question after -, standard input is the document")
    asked = questions or piped_questions()
    if not asked:
        raise ConfigError("QUESTION: expected a question, got none; write it after the document, or into a pipe")
    # torch and transformers take seconds to import: not before there is something to do
    from simmim.cli.answers import print_answer
    from simmim.cli.reading import open_document

    failed = 0
    with ExitStack() as stack:
        library = open_document(document, model, device, dtype_of(dtype), stack)
        for question in asked:
            try:
                print_answer(library, question, passages, max_new_tokens, as_json, quiet, many=len(asked) > 1)
            except SimMIMError as error:
                complain(error)
                failed += 1
    if failed:
        raise typer.Exit(1)
