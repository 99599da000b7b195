"""A group of commands whose help is cheap to show."""

from __future__ import annotations

import typer
from typer._click import Parameter
from typer.core import TyperGroup, TyperOption

__all__ = ["Group"]


class Group(TyperGroup):
    """Commands of which none imports pydantic to show its help."""

    def get_params(self, ctx: typer.Context) -> list[Parameter]:  # type: ignore[override]  # typer's own Context comes
        """Return the options; a flag that is not given is False, as typer imports pydantic to look at a None."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if isinstance(parameter, TyperOption) and parameter.is_flag and parameter.default is None:
                parameter.default = False
        return parameters
