"""The command `simmim`: gathers the commands and turns the library's errors into one line and an exit code."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from simmim import __version__
from simmim.cli.ask import ask
from simmim.cli.chat import chat
from simmim.cli.data import data
from simmim.cli.evaluate import evaluate
from simmim.cli.generate import generate
from simmim.cli.messages import complain
from simmim.cli.probe import probe
from simmim.cli.read import read
from simmim.cli.serve import serve
from simmim.cli.summarize import summarize
from simmim.cli.train import train
from simmim.cli.translate import translate
from simmim.errors import SimMIMError, is_full

__all__ = ["app"]


class _Commands(TyperGroup):
    """Commands whose expected errors are shown as one line on standard error, with exit code 1."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's own Context is what comes
        """Run a command."""
        try:
            return super().invoke(ctx)
        except SimMIMError as error:
            complain(error)
        except ModuleNotFoundError as error:
            extras = dict.fromkeys(("bm25s", "gguf"), "read")
            extras |= dict.fromkeys(("markdown_it", "polib", "py3langid", "sacrebleu", "sentencepiece"), "translate")
            extra = extras.get(error.name or "", "train")
            complain(f'this command needs the package {error.name}; install it with: pip install "simmim[{extra}]"')
        except OSError as error:
            if error.filename is not None:
                complain(f"{error.filename}: {error.strerror}")
            elif is_full(error):  # where standard output goes: files name themselves
                complain(f"cannot write: {os.strerror(error.errno or 0)}; make room and run the command again")
            else:
                raise
        raise typer.Exit(1)


app = typer.Typer(
    cls=_Commands,
    help="Transformers for long text: train, evaluate and use SimMIM models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(read)
app.command()(ask)
app.command()(train)
app.command()(evaluate)
app.command()(summarize)
app.command()(translate)
app.command()(generate)
app.command()(chat)
app.command()(serve)
app.command()(probe)
app.add_typer(data, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"simmim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Transformers for long text: train, evaluate and use SimMIM models."""
