"""The command `python -m lab.reports`: turns a result of `simmim evaluate --output` into one HTML file for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lab.reports.language import render_language_report
from lab.reports.summarization import render
from simmim.atomic import replaced_file
from simmim.cli.group import errors_in_one_line
from simmim.errors import DataError

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def report(
    result: Annotated[Path, typer.Argument(help="A file that simmim evaluate --output wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")],
) -> None:
    """Write a report of an evaluation: tables, plots by length or position, and examples; it loads nothing."""
    with errors_in_one_line():
        try:
            record = json.loads(result.read_text(encoding="utf-8"))
            page = render_language_report(record) if "bits_per_byte" in record else render(record)
        except (ValueError, TypeError, KeyError, LookupError) as error:
            raise DataError(f"{result}: expected what simmim evaluate --output writes, got {error}") from error
        with replaced_file(output) as stream:
            stream.write(page)


if __name__ == "__main__":
    app(prog_name="python -m lab.reports")
