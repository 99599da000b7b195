"""Shows what a probe found as tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.probes import FORMS, PROBES

__all__ = ["print_names", "print_tables"]


def print_names(console: Console) -> None:
    """Print the names of probes and forms, and what they mean."""
    probes = _table("", "probe", "what is asked", "tokens", "steps")
    for name, probe in PROBES.items():
        probes.add_row(name, probe.about, f"{probe.settings.length:,}", f"{probe.settings.steps:,}")
    forms = _table("", "form", "what a token reads")
    for name, form in FORMS.items():
        forms.add_row(name, form.about)
    for table in (probes, forms):
        console.print(table, "")


def print_tables(console: Console, record: dict[str, Any]) -> None:
    """Print the accuracies of all forms by length, and of each by length and group.

    Args:
        console: where to.
        record: what `python -m lab.probes --json` writes.
    """
    console.print(_by_length(record), "")
    for run in record["runs"]:
        if any(len(score["groups"]) > 1 for score in run["scores"]):
            console.print(_by_group(run, record["grouped_by"]), "")
    unit = {"answer": "answers", "text": "texts with every answer right"}[record["counts"]]
    console.print(f"{unit}, in % [95 % interval]; {record['examples']:,} test texts at each length")
    console.print(f"trained on texts of {_trained(record)} tokens")


def _by_length(record: dict[str, Any]) -> Table:
    lengths = record["settings"]["test_lengths"]
    table = _table(
        f"{record['probe']}: {record['about']}", "form", *(f"{n:,} tokens" for n in lengths), "weights", "CPU s"
    )
    several = len({run["seed"] for run in record["runs"]}) > 1
    for run in record["runs"]:
        name = f"{run['form']}, seed {run['seed']}" if several else run["form"]
        seconds = "" if run["cpu_seconds"] is None else f"{run['cpu_seconds']:,.0f}"
        table.add_row(Text(name), *map(_interval, run["scores"]), f"{run['parameters']:,}", seconds)
    if record["baseline"] is not None:
        table.add_section()
        scores = record["baseline"]["scores"]
        table.add_row(Text(f"{record['baseline']['name']} only"), *map(_interval, scores), "", "")
    return table


def _by_group(run: dict[str, Any], grouped_by: str) -> Table:
    groups = sorted({int(group) for score in run["scores"] for group in score["groups"]})
    title = f"{run['form']}, seed {run['seed']}: by {grouped_by}"
    table = _table(title, "tokens", *map(str, groups))
    for score in run["scores"]:
        found = [score["groups"].get(str(group)) for group in groups]
        cells = ["" if part is None else f"{100 * part['right'] / part['asked']:.0f}" for part in found]
        table.add_row(f"{score['length']:,}", *cells)
    return table


def _trained(record: dict[str, Any]) -> str:
    settings = record["settings"]
    shortest = settings["shortest"]
    return f"{settings['length']:,}" if shortest is None else f"{shortest:,} to {settings['length']:,}"


def _interval(score: dict[str, Any]) -> Text:
    return Text(f"{100 * score['accuracy']:.1f}\n[{100 * score['low']:.1f}, {100 * score['high']:.1f}]")


def _table(title: str, *headings: str) -> Table:
    table = Table(title=Text(title) if title else None, box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        words = place == 0 or heading.startswith("what")
        table.add_column(Text(heading), justify="left" if words else "right")
    return table
