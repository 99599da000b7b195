"""The command `simmim train`: from a recipe to a saved model."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path
from typing import Annotated

import typer

from simmim.cli.notices import complain, is_on
from simmim.cli.options import Quiet, Verbose

__all__ = ["train"]


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file such as configs/debian-synopsis.yaml.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of the run.")] = False,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting, e.g. --set training.max_steps=10."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder of the run.", show_default="the recipe's output_dir")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of everything random.", show_default="the recipe's seed")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model and save it under the recipe's output_dir.

    Several processes, started by torchrun or accelerate launch, share every batch. After a failure torchrun starts them
    again (--max-restarts), and they go on from the last checkpoint.

    SIGTERM or Ctrl-C saves a checkpoint after the step and leaves with 143 or 130; a second Ctrl-C leaves at once.
    """
    overrides = list(override or [])
    overrides += [] if output is None else [f"output_dir={json.dumps(output)}"]
    overrides += [] if seed is None else [f"seed={seed}"]
    again = shlex.join(["simmim", "train", str(recipe), "--resume", *(f"--set={setting}" for setting in overrides)])
    try:
        _run(recipe, overrides, resume, again)
    except KeyboardInterrupt:
        complain(f"stopped at once; if the run has begun, go on from its last checkpoint with: {again}")
        raise typer.Exit(128 + signal.SIGINT) from None


def _run(recipe: Path, overrides: list[str], resume: bool, again: str) -> None:
    # these take seconds to import
    import datasets
    import torch.distributed as dist
    from transformers.utils.logging import disable_progress_bar

    from simmim.console import SafeConsole
    from simmim.train.interruption import RunInterrupted
    from simmim.train.run_config import load_recipe
    from simmim.train.sharing import connect_again
    from simmim.train.trainer import train as run

    # the run has a bar of its own
    datasets.disable_progress_bars()
    disable_progress_bar()
    leads = os.environ.get("RANK", "0") == "0"  # torchrun and accelerate number the processes so
    try:
        console = SafeConsole(stderr=True, quiet=is_on("quiet"))
        loaded = load_recipe(recipe, overrides)
        attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        if attempt:
            connect_again(attempt)
            resume = resume or (Path(loaded.output_dir) / "recipe.yaml").exists()
        model = run(loaded, resume=resume, console=console)
        if leads:
            typer.echo(model)
    except RunInterrupted as error:
        name = signal.Signals(error.signal_number).name
        if leads:
            complain(f"stopped by {name}; saved {error.checkpoint}, go on with: {again}")
        raise typer.Exit(128 + error.signal_number) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
