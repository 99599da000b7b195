"""Shows the records of the decoding benchmark: a picture on logarithmic axes, and tables."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.report import in_short, logarithmic

__all__ = ["context_table", "million_table", "plot_context"]

MIB, GB = 2**20, 1e9
NAMES = {
    "all": ("SimMIM, all states", "#0b6e99", "o"),
    "pyramid": ("SimMIM, pyramid of states", "#2f8f4e", "D"),
    "llama": ("Llama, DynamicCache", "#c2571a", "s"),
    "mistral": ("Mistral, sliding window", "#7d4f9e", "^"),
    "mistral_laid_out": ("Mistral, laid out as SimMIM", "#b08fc7", "v"),
    "mamba": ("Mamba, in plain torch", "#8a8a8a", "P"),
}
"""Label, colour and marker of every model."""


def plot_context(record: dict[str, Any]) -> Figure:
    """Draw the time of a token, the bytes of the cache and the time of reading against the context."""
    figure = Figure(figsize=(14, 5), layout="constrained")
    FigureCanvasAgg(figure)
    time, held, reading = figure.subplots(1, 3)
    rows = record["lengths"]
    _lines(time, rows, lambda row, form: row["median_seconds"][form] * 1e3, "a token, median (ms)")
    _lines(held, rows, lambda row, form: row["cache_bytes"][form] / MIB, "cache (MiB)")
    _lines(reading, rows, _read_seconds, "reading the prompt (s)")
    time.legend(frameon=False, loc="upper left")
    for form in ("all", "pyramid"):
        stated = [row["stated_bytes"][form] / MIB for row in rows]
        held.plot([row["length"] for row in rows], stated, color=NAMES[form][1], linestyle=":", linewidth=3, alpha=0.5)
    held.annotate("dotted: as the design states", (0.03, 0.95), xycoords="axes fraction", fontsize=9, va="top")
    machine = record["machine"]
    figure.suptitle(
        f"{_finding(rows)}\n{record['parameters']['all'] / 1e6:.1f} M parameters each, {record['dtype']}; "
        f"{machine['processor']}, {machine['threads']} thread(s), torch {machine['torch']}, "
        f"transformers {machine['transformers']}, {record['date']}",
        fontsize=11,
    )
    return figure


def _read_seconds(row: dict[str, Any], form: str) -> float | None:
    read = row["prompt"][form]
    return None if isinstance(read, str) else read["seconds"]


def _lines(axes: Axes, rows: list[dict[str, Any]], value: Any, label: str) -> None:
    """Draw one quantity of every model where it was measured."""
    for form, (name, colour, marker) in NAMES.items():
        points = [(row["length"], value(row, form)) for row in rows if value(row, form) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=name)
    lengths = [row["length"] for row in rows]
    logarithmic(axes, lengths, [in_short(length) for length in lengths], label)
    axes.set_xlabel("tokens of context")
    axes.margins(y=0.2)


def _finding(rows: list[dict[str, Any]]) -> str:
    """Say what the longest context costs a token, beside the shortest."""
    first, last = rows[0], rows[-1]
    growth = [
        f"{last['median_seconds'][form] / first['median_seconds'][form]:.2f} times ({NAMES[form][0]})"
        for form in last["stated_bytes"]
    ]
    return f"A token at {in_short(last['length'])} of context takes {' and '.join(growth)} as long as at " + in_short(
        first["length"]
    )


def context_table(record: dict[str, Any]) -> Table:
    """Return the figures as a table for the terminal."""
    machine = record["machine"]
    shown = Table(title=f"{record['command']}\n{machine['processor']}, {machine['threads']} thread(s)")
    for heading in ("context", "model", "ms", "/ all", "/ pyramid", "cache MiB", "read s", "peak MiB"):
        left = heading == "model"
        shown.add_column(heading, justify="left" if left else "right", no_wrap=left)
    for row in record["lengths"]:
        for form in NAMES:
            read = row["prompt"][form]
            shown.add_row(
                in_short(row["length"]) if form == "all" else "",
                f"SimMIM {form}" if form in row["stated_bytes"] else form.replace("_", " ").capitalize(),
                f"{row['median_seconds'][form] * 1e3:.2f}",
                *(f"{row['over'][ours][form]['median']:.2f}" for ours in ("all", "pyramid")),
                f"{row['cache_bytes'][form] / MIB:.2f}",
                *(("filled", "") if isinstance(read, str) else (f"{read['seconds']:.1f}", _peak(read))),
                end_section=form == list(NAMES)[-1],
            )
    return shown


def _peak(read: dict[str, Any]) -> str:
    return "not measured" if read["peak_bytes"] is None else f"{read['peak_bytes'] / MIB:,.0f}"


def million_table(record: dict[str, Any]) -> Table:
    """Return what a long prompt took as a table for the terminal."""
    machine = record["machine"]
    shown = Table(title=f"{record['command']}\n{machine['processor']}, {machine['threads']} thread(s)")
    shown.add_column("")
    shown.add_column(f"{record['length']:,} tokens, {NAMES[record['reach']][0]}", justify="right")
    shown.add_row("prompt read (s)", f"{record['read_seconds']:,.1f}")
    shown.add_row("a token after it, median (ms)", f"{record['median_seconds'] * 1e3:.2f}")
    shown.add_row("cache (MiB), stated", f"{record['cache_bytes'] / MIB:.2f}, {record['stated_bytes'] / MIB:.2f}")
    held = (record["peak_bytes"], record["imported_bytes"])
    memory = "not measured" if held[0] is None else f"{held[0] / GB:.2f}, {held[1] / GB:.2f}"
    shown.add_row("most memory of the process (GB), after importing", memory)
    return shown
