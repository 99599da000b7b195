"""Messages of the commands on standard error, and whether --quiet and --verbose are given."""

from __future__ import annotations

import typer
from typer._click.globals import get_current_context

from simmim.terminal import terminal_safe

__all__ = ["complain", "is_on", "say", "switch"]

_SWITCHES = "simmim.switches"


def switch(context: typer.Context, parameter: typer.CallbackParam, value: bool) -> bool:
    """Keep a flag for `is_on`; --verbose also shows the log of simmim."""
    context.meta.setdefault(_SWITCHES, {})[parameter.name] = value
    if parameter.name == "verbose" and value:
        import logging

        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("simmim").setLevel(logging.INFO)
    return value


def is_on(name: str) -> bool:
    """Return whether the running command was given `--quiet` or `--verbose`; False outside a command."""
    context = get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_SWITCHES, {}).get(name))


def complain(error: object) -> None:
    """Print an error in one line, whether quiet or not."""
    _print(f"error: {error}")


def say(message: str) -> None:
    """Print a note in one line without control characters, unless --quiet is given."""
    if not is_on("quiet"):
        _print(message)


def _print(message: str) -> None:
    typer.echo(terminal_safe(" ".join(message.split())), err=True)
