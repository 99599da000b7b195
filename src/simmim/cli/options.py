"""Options that several commands share, with one name and one meaning in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    import torch

__all__ = ["Device", "Dtype", "dtype_of"]

Device = Annotated[
    str | None,
    typer.Option("--device", help="Where to compute, such as cpu or cuda.", show_default="an accelerator, or cpu"),
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option("--dtype", help="Numbers to compute with.", show_default="float32 on a CPU, else as saved"),
]


def dtype_of(name: str | None) -> torch.dtype | None:
    """Return the dtype of a name; None for None."""
    import torch

    found: torch.dtype | None = None if name is None else getattr(torch, name)
    return found
