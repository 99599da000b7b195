"""The command `simmim search`: list the passages of documents that are about something."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Any

import typer

from simmim.cli.notices import complain
from simmim.cli.options import AsJson, CausalModel, Device, Dtype, Quiet, Verbose, dtype_of
from simmim.cli.questions import piped_questions
from simmim.errors import ConfigError, SimMIMError

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
    if document == "-" and not queries:
        raise ConfigError("QUERY: expected a query after -, standard input is the document")
    asked = queries or piped_questions()
    if not asked:
        raise ConfigError("QUERY: expected a query, got none; write it after the document, or into a pipe")
    # torch and transformers take seconds to import: not before there is something to do
    from simmim.cli.reading import open_document

    failed = 0
    with ExitStack() as stack:
        library = open_document(document, model, device, dtype_of(dtype), stack)
        for query in asked:
            try:
                _search(library, query, count, as_json, many=len(asked) > 1)
            except SimMIMError as error:
                complain(error)
                failed += 1
    if failed:
        raise typer.Exit(1)


def _search(library: Any, query: str, count: int, as_json: bool, many: bool) -> None:
    """Print the passages for a query."""
    from dataclasses import asdict, replace

    from rich.padding import Padding
    from rich.text import Text

    from simmim.cli.answers import excerpt, where
    from simmim.cli.results import json_line
    from simmim.console import SafeConsole
    from simmim.data.unicode import check_text
    from simmim.reading.answering import passages_of
    from simmim.terminal import printable

    check_text("query", query)
    found = library.finder.find(query, count)
    total = sum(one.score for one in found)
    passages = [
        replace(passages_of([one.segment], found, library.opened)[0], weight=round(one.score / total, 4))
        for one in found
    ]
    if as_json:
        typer.echo(json_line({"query": query, "passages": [asdict(one) for one in passages]}), nl=False)
        return
    out = SafeConsole(highlight=False)
    if many:
        out.print(Text(printable(query), "bold"))
    for passage in passages:
        out.print(Text(where(passage), "bold"), soft_wrap=True)
        out.print(Padding(Text(excerpt(passage.text, query)), (0, 0, 0, 2), expand=False))
    if many:
        out.print()
