"""The command `simmim train`: from a recipe to a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file such as configs/debian-synopsis.yaml.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of the run.")] = False,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting, e.g. --set training.max_steps=10."),
    ] = None,
) -> None:
    """Train a model and save it under the recipe's output_dir."""
    # these take seconds to import
    import datasets
    from transformers.utils.logging import disable_progress_bar

    from simmim.train.run_config import load_recipe
    from simmim.train.trainer import train as run

    # the run has a bar of its own
    datasets.disable_progress_bars()
    disable_progress_bar()
    typer.echo(run(load_recipe(recipe, override or []), resume=resume))
