"""The command `simmim`: finds the commands and turns the library's errors into one line and an exit code."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer._click import Command
from typer.core import TyperCommand
from typer.main import get_command

from simmim import __version__
from simmim.cli.group import Group, current_name, errors_in_one_line

__all__ = ["COMMANDS", "app"]

COMMANDS = {
    "read": "Read documents of any length once; ask about them with simmim ask.",
    "ask": "Answer questions about documents of any length, and show the passages that were read for each answer.",
    "search": "List the passages of documents that are about something, the best first, without an answer.",
    "app": "Open a page in the browser that shows long documents whole, answers, summarizes and translates them.",
    "train": "Train a model and save it under the recipe's output_dir.",
    "evaluate": "Measure a model that writes summaries, or one that models language, with 95 % intervals.",
    "summarize": "Summarize documents of any length: text, Markdown, HTML, PDF, Word and others; none is ever cut.",
    "translate": "Translate documents: text, Markdown, HTML, Word, EPUB, PO, XLIFF, SRT, WebVTT and manual pages.",
    "generate": "Continue a text of any length; all of it is read, in bounded memory.",
    "chat": "Talk with a model; /help lists what can be typed.",
    "serve": "Serve a model to OpenAI clients at http://127.0.0.1:8000/v1.",
    "data": "Check data of your own.",
}
"""Each command, which is the name of its module and of what that module defines, and its help in one sentence."""


class _Commands(Group):
    """Commands, imported when they run; their expected errors are one line on standard error, with exit code 1."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(
        self,
        ctx: typer.Context,  # type: ignore[override]
        args: list[str],
    ) -> tuple[str | None, Command | None, list[str]]:
        """Return the command that is to run, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in COMMANDS else command, rest

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command."""
        with errors_in_one_line():
            return super().invoke(ctx)


class _Command(TyperCommand):
    """A command whose hidden arguments do not show in its usage."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the parts of the line that says how to call it."""
        return [piece for piece in super().collect_usage_pieces(ctx) if piece != "[]"]


def load(name: str) -> Command:
    """Import a command."""
    defined = getattr(import_module(f"simmim.cli.{name}"), name)
    if not isinstance(defined, typer.Typer):
        function, defined = defined, typer.Typer(add_completion=False, rich_markup_mode=None)
        defined.command(name, cls=_Command, context_settings={"token_normalize_func": current_name})(function)
    return get_command(defined)


app = typer.Typer(
    cls=_Commands,
    help="Transformers for long text: train, evaluate and use SimMIM models.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would cost more than all the rest of a start
    pretty_exceptions_enable=False,
)


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
