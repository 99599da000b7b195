"""The commands `simmim data`: check a file of one's own."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simmim.cli.group import Group
from simmim.cli.options import Quiet, Verbose
from simmim.errors import ConfigError
from simmim.terminal import terminal_safe

if TYPE_CHECKING:
    from simmim.data.columns import Column

__all__ = ["data"]

data = typer.Typer(
    help="Check data of your own.",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Group,
)


@data.callback()
def _check_data() -> None:
    """Check data of your own."""


@data.command()
def check(
    file: Annotated[str, typer.Argument(help="A file, a folder, hf:owner/name[:split], or a recipe (.yaml).")],
    document: Annotated[str, typer.Option(help="The column with the texts to read.")] = "document",
    summary: Annotated[str, typer.Option(help="The column with the texts to write.")] = "summary",
    text: Annotated[
        str | None, typer.Option(help="Instead of both: the column with the texts to learn language from.")
    ] = None,
    messages: Annotated[
        str | None, typer.Option(help="Instead of both: the column with the conversations to learn replies from.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Count the rows of your own data, measure them, and name the broken ones; exit with 1 if there are any.

    Of a recipe all files are checked, with the columns that it names. Of translated pages (TMX, XLIFF, PO,
    texts.{en,fr}, JSON lines with source and target) what is untranslated, misaligned or of another length is counted.
    """
    if text is not None and messages is not None:
        raise ConfigError("--text, --messages: expected one of them, got both")
    from simmim.cli.translation_data import check_translations, translated_files

    if pages := translated_files(file):
        whole = [check_translations(path) for path in pages]  # all are shown, whatever the first says
        if not all(whole):
            raise typer.Exit(1)
        return
    from simmim.data.columns import Column, ConversationColumn

    columns = {"document": Column(document), "summary": Column(summary)}
    if text is not None:
        columns = {"text": Column(text)}
    elif messages is not None:
        columns = {"conversation": ConversationColumn(messages)}
    checked = _of_recipe(Path(file)) if Path(file).suffix in (".yaml", ".yml") else {file: columns}
    whole = [_check(source, wanted) for source, wanted in checked.items()]  # all are shown, whatever the first says
    if not all(whole):
        raise typer.Exit(1)


def _of_recipe(path: Path) -> dict[str, dict[str, Column]]:
    """Return the files that a recipe names, and of each the columns that its task reads, by what they hold."""
    from simmim.train.run_config import load_recipe
    from simmim.train.tasks import TASKS

    recipe = load_recipe(path)
    if recipe.data.corpora:
        raise ConfigError(f"{path}: expected a recipe that names files, got corpora, which have a manifest.json")
    task = TASKS.find(recipe.task)(recipe)
    columns = dict(zip(task.column_keys, task.file_columns(), strict=True))
    files = (getattr(recipe.data, split) for split in ("train", "validation", "test"))
    return {file: columns for file in files if file is not None}


def _check(file: str, columns: Mapping[str, Column]) -> bool:
    """Show what is in a source, and return whether every row is whole."""
    from rich.text import Text

    from simmim.cli.progress import progress
    from simmim.cli.tables import plain_table, show

    with progress(f"reading {file}"):
        from simmim.data.report import RowReport
        from simmim.data.table import check_rows

        lengths = {name: array("Q") for name in columns}
        report = RowReport(file)
        for row in check_rows(file, columns=list(columns.values()), report=report):
            for counts, column, value in zip(lengths.values(), columns.values(), row, strict=True):
                counts.append(sum(len(found.split()) for found in column.texts(value)))
    typer.echo(terminal_safe(f"{file}: {report.rows:,} whole rows, {report.total_broken:,} broken ones"))
    if report.rows:
        table = plain_table("words", "least", "median", "mean", "most")
        for name, counts in lengths.items():
            figures = (min(counts), statistics.median(counts), statistics.fmean(counts), max(counts))
            table.add_row(name, *(f"{figure:,.0f}" for figure in figures))
        show(table)
    if report.total_broken:
        table = plain_table("broken rows", "how many", "the first are at")
        for reason, count in report.broken.items():
            table.add_row(Text(reason), f"{count:,}", Text(", ".join(report.positions[reason])))
        show(table)
        typer.echo(terminal_safe(f"the first: {' '.join(report.first.split())}"))
    return bool(report.rows) and not report.total_broken
