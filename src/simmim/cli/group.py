"""What every group of commands shares: help that is cheap to show, and expected errors as one line with exit code 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from typer._click import Parameter
from typer.core import TyperGroup, TyperOption

from simmim.errors import SimMIMError, is_full

__all__ = ["Group", "current_name", "errors_in_one_line"]

_EXTRAS = dict.fromkeys(("bm25s", "gguf"), "read") | dict.fromkeys(
    ("markdown_it", "polib", "py3langid", "sacrebleu", "sentencepiece"), "translate"
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
        return
    except SimMIMError as error:
        problem: object = error
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "", "train")
        problem = f'this command needs the package {error.name}; install it with: pip install "simmim[{extra}]"'
    except OSError as error:
        if error.filename is not None:
            problem = f"{error.filename}: {error.strerror}"
        elif is_full(error):  # where standard output goes: files name themselves
            problem = f"cannot write: {os.strerror(error.errno or 0)}; make room and run the command again"
        else:
            raise
    from simmim.cli.messages import complain  # it needs rich, which --version does not

    complain(problem)
    raise typer.Exit(1)
