"""Options that several commands share, with one name and one meaning in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simmim.cli.notices import switch

if TYPE_CHECKING:
    import torch

__all__ = [
    "AsJson",
    "CausalModel",
    "Device",
    "Dtype",
    "Encoding",
    "OldModel",
    "Quiet",
    "RepetitionPenalty",
    "Seed",
    "Temperature",
    "TopK",
    "TopP",
    "Verbose",
    "dtype_of",
    "sampling_settings",
]

CausalModel = Annotated[
    str | None,
    typer.Option(
        "--model", help="Folder, GGUF file or hub name of a causal model.", show_default="SmolLM2-135M-Instruct"
    ),
]
OldModel = Annotated[str | None, typer.Argument(metavar="", hidden=True)]  # --model without its name; until 0.2
Device = Annotated[
    str | None,
    typer.Option("--device", help="Where to compute, such as cpu or cuda.", show_default="an accelerator, or cpu"),
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option("--dtype", help="Numbers to compute with.", show_default="float32 on a CPU, else as saved"),
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="The same seed draws the same tokens.", show_default="drawn")
]
Encoding = Annotated[
    str | None, typer.Option("--encoding", metavar="NAME", help="Encoding of the texts.", show_default="UTF-8")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=switch, help="Show results and errors only.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=switch, help="Show log messages, and where an error was raised.")
]
Temperature = Annotated[
    float,
    typer.Option("--temperature", min=0, help="Above 1 replies are more varied, below less; 0 takes the likeliest."),
]
TopP = Annotated[
    float,
    typer.Option("--top-p", min=0.01, max=1, help="Draw from the likeliest tokens that have this share together."),
]
TopK = Annotated[int, typer.Option("--top-k", min=0, help="Draw from so many of the likeliest tokens; 0 from all.")]
RepetitionPenalty = Annotated[
    float, typer.Option("--repetition-penalty", min=0.01, help="Above 1 tokens that occurred become less likely.")
]


def dtype_of(name: str | None) -> torch.dtype | None:
    """Return the dtype of a name; None for None."""
    import torch

    found: torch.dtype | None = None if name is None else getattr(torch, name)
    return found


def sampling_settings(temperature: float, top_k: int, top_p: float) -> dict[str, Any]:
    """Return what `generate` of transformers takes; temperature 0 is greedy."""
    if temperature == 0:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": temperature, "top_k": top_k, "top_p": top_p}
