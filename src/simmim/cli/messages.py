"""What the commands say on standard error."""

from __future__ import annotations

import typer

__all__ = ["complain"]


def complain(error: object) -> None:
    """Say what went wrong in one line.

    Args:
        error: the error, or its message; line breaks in it become spaces.
    """
    typer.echo(f"error: {' '.join(str(error).split())}", err=True)
