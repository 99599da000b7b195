"""The command `python -m lab.probes`: train small models on a generated task and show what they can look up."""

from __future__ import annotations

import dataclasses
import json
import shlex
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from transformers.utils.logging import disable_progress_bar

from lab.probes import PROBES, ProbeSettings, model_config
from lab.probes.run import ProbeRun, baseline, run_probe
from lab.probes.tables import print_names, print_tables
from simmim.atomic import replaced_file
from simmim.cli.group import errors_in_one_line
from simmim.cli.notices import complain
from simmim.cli.provenance import provenance
from simmim.console import SafeConsole
from simmim.errors import ConfigError
from simmim.train.interruption import RunInterrupted
from simmim.train.yaml_reader import parse_yaml

__all__ = ["app", "probe"]

_PROGRAM = ("python", "-m", "lab.probes")
app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _list(wanted: bool) -> None:
    if wanted:
        print_names(SafeConsole(highlight=False))
        raise typer.Exit


@app.command()
def probe(
    name: Annotated[str, typer.Argument(help="What to probe; --list shows the names.", metavar="NAME")],
    form: Annotated[
        list[str] | None, typer.Option(help="A form of the model; again for more.", show_default="default")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Again for more.", show_default="0")] = None,
    length: Annotated[
        int | None, typer.Option(min=1, help="Tokens of the training texts.", show_default="the probe's")
    ] = None,
    test_lengths: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Where to measure.", show_default="the probe's")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training.", show_default="the probe's")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Texts a step.", show_default="the probe's")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="At its highest.", show_default="the probe's")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of SimMIMConfig, e.g. --set hidden_size=128."),
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Test texts at each length.")] = 200,
    work: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the runs here; what is there goes on, or is done.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Also write the result here, as JSON.")
    ] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16.")] = False,
    show_names: Annotated[
        bool, typer.Option("--list", callback=_list, is_eager=True, help="Show probes and forms, and leave.")
    ] = False,
) -> None:
    """Train small models on a generated task, and measure them where the answer lies far away.

    With --work a run that was stopped goes on from its last checkpoint when the same command is given again.
    """
    with errors_in_one_line():
        known = PROBES.find(name)().settings
        settings = _settings(known, length, test_lengths, steps, batch_size, learning_rate, setting)
        common = {"probe": name, "settings": settings, "examples": examples, "bf16": bf16}
        try:
            _run(common, form or ["default"], seed or [0], work, output)
        except KeyboardInterrupt:
            again = shlex.join([*_PROGRAM, *sys.argv[1:]])
            complain(f"stopped at once; go on from the last checkpoint with: {again}" if work else "stopped")
            raise typer.Exit(128 + signal.SIGINT) from None


def _run(common: dict[str, Any], forms: list[str], seeds: list[int], work: Path | None, json_file: Path | None) -> None:
    disable_progress_bar()  # the run has a bar of its own
    progress = SafeConsole(stderr=True, highlight=False)
    settings = common["settings"]
    for form in forms:  # what cannot be built is refused before any work is done
        model_config(PROBES.find(common["probe"])(), form, settings.model, settings.length)
    runs = [ProbeRun(form=form, seed=seed, **common) for form in forms for seed in seeds]
    with ExitStack() as stack:
        stream = None if json_file is None else stack.enter_context(replaced_file(json_file))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simmim-"))) if work is None else work
        results = []
        for run in runs:
            progress.print(f"{run.name}: {settings.steps:,} steps of {settings.batch_size} texts")
            try:
                results.append({"form": run.form, "seed": run.seed, **run_probe(run, folder / run.name, progress)})
            except RunInterrupted as error:
                where = "" if work is None else f"; go on with: {shlex.join([*_PROGRAM, *sys.argv[1:]])}"
                complain(f"stopped by {signal.Signals(error.signal_number).name}{where}")
                raise typer.Exit(128 + error.signal_number) from None
        record = _record(common, results, baseline(runs[0]))
        print_tables(SafeConsole(highlight=False), record)
        if stream is not None:
            stream.write(json.dumps(record, indent=2) + "\n")


def _settings(
    known: ProbeSettings,
    length: int | None,
    test_lengths: str | None,
    steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    overrides: list[str] | None,
) -> ProbeSettings:
    """Return the probe's settings with those of the command in their place."""
    model = dict(known.model)
    for override in overrides or []:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set: expected KEY=VALUE, got {override!r}")
        model[key.strip()] = parse_yaml(text, f"--set {override}")
    given: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    if length is not None:
        # the probe's own lengths go with its own training length
        shortest = None if known.shortest is None else max(1, known.shortest * length // known.length)
        given |= {"length": length, "shortest": shortest, "test_lengths": (length,)}
    if test_lengths is not None:
        parts = test_lengths.split(",")
        if not all(part.strip().isdecimal() and int(part) for part in parts):
            raise ConfigError(f"--test-lengths: expected whole numbers with commas between them, got {test_lengths!r}")
        given["test_lengths"] = tuple(int(part) for part in parts)
    chosen = {key: value for key, value in given.items() if value is not None or key == "shortest"}
    return dataclasses.replace(known, **chosen, model=model)


def _record(
    common: dict[str, Any], results: list[dict[str, Any]], baseline: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """Gather everything that was found, and what it depends on."""
    probe = PROBES.find(common["probe"])
    return {
        "probe": common["probe"],
        "about": probe.about,
        "counts": probe.counts,
        "grouped_by": probe.grouped_by,
        "settings": dataclasses.asdict(common["settings"]),
        "examples": common["examples"],
        "bf16": common["bf16"],
        "runs": results,
        "baseline": None if baseline is None else {"name": probe.clue_name, "scores": baseline},
        "made": provenance(program=_PROGRAM),
    }


if __name__ == "__main__":
    app(prog_name=" ".join(_PROGRAM))
