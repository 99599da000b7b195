"""The command `simmim summarize`: read texts whole and print a summary of each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from simmim.cli.inputs import read_text
from simmim.cli.messages import complain
from simmim.errors import DataError

if TYPE_CHECKING:
    from simmim.cli.generation import Summary

__all__ = ["summarize"]

_BEGINNING = 240  # characters of a text that are shown beside its summary


def summarize(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Text files in UTF-8; - is standard input.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of a saved model.", show_default="the model that comes with SimMIM")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest summary, in tokens.")] = 64,
    beams: Annotated[int, typer.Option(min=1, help="Width of the beam search; 1 is greedy.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line instead.")] = False,
) -> None:
    """Summarise texts of any length; no text is ever cut.

    A file that cannot be read is named on standard error and does not stop the others.
    """
    texts: list[tuple[str, str]] = []
    for file in files:
        try:
            texts.append((file, read_text(file)))
        except DataError as error:
            complain(error)
    if texts:
        _summarize(texts, model, max_new_tokens, beams, as_json)
    if len(texts) < len(files):
        raise typer.Exit(1)


def _summarize(
    texts: list[tuple[str, str]], folder: Path | None, max_new_tokens: int, beams: int, as_json: bool
) -> None:
    # torch and transformers take seconds to import: not before there is something to do
    from simmim.cli.checkpoints import load_model
    from simmim.cli.generation import summaries
    from simmim.models import pretrained_path

    model, tokenizer = load_model(folder or pretrained_path())
    for name, text in texts:
        [(_, summary)] = summaries(model, tokenizer, [text], beams=beams, max_new_tokens=max_new_tokens)
        if as_json:
            _print_json(name, summary)
        else:
            _print(name, text, summary, max_new_tokens)


def _print(name: str, text: str, summary: Summary, max_new_tokens: int) -> None:
    """Print a text's name, beginning, summary and figures."""
    beginning = _printable(text)
    if len(beginning) > _BEGINNING:
        beginning = beginning[:_BEGINNING] + "…"
    card = Table.grid(padding=(0, 2))
    card.add_row("text", Text(beginning))
    card.add_row("summary", Text(_printable(summary.text) or "(the model wrote nothing)", style="green"))
    if not summary.complete:
        card.add_row("note", f"stopped at {max_new_tokens} tokens; --max-new-tokens allows more")
    figures = f"{summary.source_tokens:,} tokens in, {summary.seconds:.2f} s, peak memory {peak_memory():,.0f} MiB"
    card.add_row("cost", figures)
    console = Console(highlight=False)
    console.print(Text(name, style="bold"))
    console.print(Padding(card, (0, 0, 1, 2)))


def _print_json(name: str, summary: Summary) -> None:
    entry = {
        "name": name,
        "summary": summary.text,
        "complete": summary.complete,
        "source_tokens": summary.source_tokens,
        "seconds": round(summary.seconds, 3),
        "peak_memory_mib": round(peak_memory(), 1),
    }
    typer.echo(json.dumps(entry, ensure_ascii=False))


def _printable(text: str) -> str:
    """Put a text on one line and take out what would steer a terminal."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def peak_memory() -> float:
    """Return the most memory that this process has held so far, in MiB."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
