"""The command `simmim ask`: answer questions about documents, with the passages that were read for each answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from simmim.cli.options import AsJson, CausalModel, Device, Dtype, Quiet, Verbose
from simmim.cli.questions import ask_each

if TYPE_CHECKING:
    from simmim.tasks.reading import Library

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

    def answer(library: Library, question: str, many: bool) -> None:
        from simmim.cli.answers import print_answer  # takes seconds to import

        print_answer(library, question, passages, max_new_tokens, as_json, quiet, many)

    ask_each(document, questions, "question", (model, device, dtype), answer)
