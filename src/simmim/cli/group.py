"""What every group of commands shares: help that is cheap to show, and expected errors as one line with exit code 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from typer._click import Parameter
from typer.core import TyperGroup, TyperOption

from simmim.cli.notices import complain, is_on
from simmim.errors import SimMIMError, is_full

__all__ = ["Group", "current_name", "errors_in_one_line"]

_EXTRAS = dict.fromkeys(("bm25s", "gguf"), "read") | dict.fromkeys(
    ("markdown_it", "polib", "sacrebleu", "sentencepiece"), "translate"
)
_OLD_NAMES = {"beams": "num-beams", "samples": "num-return-sequences"}  # of options; until the next version


class Group(TyperGroup):
    """Commands of which none imports pydantic to show its help."""

    def get_params(self, ctx: typer.Context) -> list[Parameter]:  # type: ignore[override]  # typer's own Context comes
        """Return the options; a flag that is not given is False, as typer imports pydantic to look at a None."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if isinstance(parameter, TyperOption) and parameter.is_flag and parameter.default is None:
                parameter.default = False
        return parameters


def current_name(option: str) -> str:
    """Return what an option is called now, without its dashes."""
    return _OLD_NAMES.get(option, option)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn an expected error of a command into one line on standard error and exit code 1."""
    try:
        yield
    except (SimMIMError, ModuleNotFoundError, OSError) as error:
        problem = _explain(error)
        if problem is None:
            raise
        if is_on("verbose"):
            import traceback

            traceback.print_exc()
        complain(problem)
        raise typer.Exit(1) from None


def _explain(error: Exception) -> object:
    """Return what to tell the user of an error; None if it is not expected."""
    if isinstance(error, ModuleNotFoundError):
        extra = _EXTRAS.get(error.name or "", "train")
        return f'this command needs the package {error.name}; install it with: pip install "simmim[{extra}]"'
    if isinstance(error, SimMIMError) or not isinstance(error, OSError):  # a CheckpointError is both
        return error
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if is_full(error):  # where standard output goes: files name themselves
        return f"cannot write: {os.strerror(error.errno or 0)}; free some space and run the command again"
    return None
