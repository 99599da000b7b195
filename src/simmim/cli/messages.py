"""What the commands say on standard error."""

from __future__ import annotations

import typer

from simmim.terminal import terminal_safe

__all__ = ["complain", "say"]


def complain(error: object) -> None:
    """Say what went wrong in one line.

    Args:
        error: the error, or its message; line breaks in it become spaces.
    """
    say(f"error: {error}")


def say(message: str) -> None:
    """Say something in one line that steers no terminal, whatever names it holds.

    Args:
        message: line breaks in it become spaces.
    """
    typer.echo(terminal_safe(" ".join(message.split())), err=True)
