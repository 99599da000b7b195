"""The command `simmim search`: list the passages of documents that are about something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from simmim.cli.options import AsJson, CausalModel, Device, Dtype, Quiet, Verbose
from simmim.cli.questions import ask_each

if TYPE_CHECKING:
    from simmim.tasks.reading import Library

__all__ = ["search"]


def search(
    document: Annotated[
        str, typer.Argument(metavar="DOCUMENT", help="What simmim read wrote, or a file, which is read first.")
    ],
    queries: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUERY...", help="What to look for; none reads a query a line from standard input."),
    ] = None,
    model: CausalModel = None,
    count: Annotated[int, typer.Option(min=1, help="Passages that are shown.")] = 5,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the passages of documents that are about something, the best first, without an answer."""

    def answer(library: Library, query: str, many: bool) -> None:
        from simmim.cli.answers import print_passages  # takes seconds to import

        print_passages(library, query, count, as_json, many)

    ask_each(document, queries, "query", (model, device, dtype), answer)
