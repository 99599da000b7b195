"""Shows the record of a benchmark: as a file of JSON, as a picture and as a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from rich.table import Table

from simmim.atomic import replaced_file

__all__ = ["FORMS", "in_short", "logarithmic", "plot", "save", "save_data", "table"]

MIB = 2**20
GFLOP = 1e9
NAMES = {"simmim": "SimMIM", "full": "full attention"}
COLOURS = {"simmim": "#0b6e99", "full": "#c2571a"}
MARKERS = {"simmim": "o", "full": "s"}
FORMS = {
    "full": ("full attention", "#c2571a", "s"),
    "all": ("default, all states", "#0b6e99", "o"),
    "literal": ("literal form", "#7d4f9e", "^"),
    "pyramid": ("default, pyramid of states", "#2f8f4e", "D"),
}
"""Label, colour and marker of every form of attention."""


def save(
    record: dict[str, Any], stem: Path, draw: Callable[[dict[str, Any]], Figure] | None = None
) -> tuple[Path, Path]:
    """Write a record and its picture; return their paths.

    Args:
        record: what a benchmark measured.
        stem: folder and name of the files without ``.json`` and ``.png``; the folder is made.
        draw: makes the picture of the record; None for that of ``benchmarks.speed``.
    """
    data, picture = save_data(record, stem), stem.with_name(stem.name + ".png")
    with replaced_file(picture) as stream:
        (draw or plot)(record).savefig(stream.buffer, format="png", dpi=144)
    return data, picture


def save_data(record: dict[str, Any], stem: Path) -> Path:
    """Write a record; return the path of the file, which is ``stem`` and ``.json``. The folder is made."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    data = stem.with_name(stem.name + ".json")
    with replaced_file(data) as stream:
        stream.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return data


def series(record: dict[str, Any], what: str) -> dict[str, list[float]]:
    """Return the figures of one quantity for either encoder, a value a length; nothing where it was not measured.

    Args:
        record: what ``benchmarks.speed`` measured.
        what: ``training_step`` or ``forward`` (median seconds), ``flops`` (GFLOP), or ``peak_memory`` (MiB).
    """
    found: dict[str, list[float]] = {}
    for name in NAMES:
        if what == "flops":
            found[name] = [row["flops"][name] / GFLOP for row in record["lengths"]]
        elif what == "peak_memory":
            found[name] = [row[what][name] / MIB for row in record["lengths"] if row[what][name] is not None]
        else:
            found[name] = [row[what]["median_seconds"][name] for row in record["lengths"]]
    return {name: values for name, values in found.items() if values}


def plot(record: dict[str, Any]) -> Figure:
    """Draw time, FLOPs and peak memory of a training step against the length of the document."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    times, flops, memory = (series(record, what) for what in ("training_step", "flops", "peak_memory"))
    lengths = [row["length"] for row in record["lengths"]]
    ratios = [row["training_step"]["full_over_simmim"]["median"] for row in record["lengths"]]
    _panel(panels[0], lengths, times, ratios, "time (s)")
    _panel(panels[1], lengths, flops, _ratios(flops), "counted operations (GFLOP)")
    _panel(panels[2], lengths, memory, _ratios(memory), "peak memory above weights (MiB)")
    panels[0].legend(frameon=False, loc="upper left", title="numbers: full / SimMIM", alignment="left")
    machine = record["machine"]
    figure.suptitle(
        "Encoder, forward and backward of one document: "
        f"{record['parameters'] / 1e6:.1f} M parameters, {record['dtype']}\n"
        f"{machine['processor']}, {machine['threads']} thread(s), torch {machine['torch']}, {record['date']}",
        fontsize=11,
    )
    return figure


def _ratios(drawn: dict[str, list[float]]) -> list[float]:
    """Return how many times more full attention needs; nothing where it was not measured."""
    return [full / simmim for simmim, full in zip(drawn.get("simmim", []), drawn.get("full", []), strict=True)]


def _panel(axes: Axes, lengths: list[int], drawn: dict[str, list[float]], ratios: list[float], label: str) -> None:
    """Draw both series on logarithmic axes, and write the ratio over each length."""
    if not drawn:
        axes.set_axis_off()
        axes.text(0.5, 0.5, f"{label}:\nnot measured on this system", transform=axes.transAxes, ha="center")
        return
    for name, values in drawn.items():
        axes.plot(lengths, values, marker=MARKERS[name], color=COLOURS[name], label=NAMES[name])
    logarithmic(axes, lengths, [f"{length:,}" for length in lengths], label)
    for length, ratio, points in zip(lengths, ratios, zip(*drawn.values(), strict=True), strict=False):
        above = (length, max(points))
        axes.annotate(
            f"{ratio:.2f}", above, (-6, 8), textcoords="offset points", ha="center", fontsize=9, color="#444444"
        )
    axes.margins(x=0.1, y=0.14)


def in_short(length: int) -> str:
    """Return a length as a reader says it: 4k for 4,096 and 1M for 1,048,576."""
    for unit, size in (("M", 2**20), ("k", 2**10)):
        if length % size == 0:
            return f"{length // size}{unit}"
    return f"{length:,}"


def logarithmic(axes: Axes, lengths: Sequence[int], names: Sequence[str], label: str) -> None:
    """Make both axes logarithmic, name the lengths along the one and say what stands on the other."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, names)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.15g}"))
    axes.set_xlabel("tokens of the document")
    axes.set_ylabel(label)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def table(record: dict[str, Any]) -> Table:
    """Return the figures as a table for the terminal."""
    shown = Table(
        title=f"{record['command']}\n{record['machine']['processor']}, {record['machine']['threads']} thread(s)"
    )
    for heading in ("tokens", "", "SimMIM", "full", "full / SimMIM", "min to max"):
        shown.add_column(heading, justify="left" if not heading else "right")
    for row in record["lengths"]:
        shown.add_row(f"{row['length']:,}", *_timed("training step (s)", row["training_step"]))
        shown.add_row("", *_timed("forward (s)", row["forward"]))
        shown.add_row("", *_counted("GFLOP", row["flops"], GFLOP))
        shown.add_row("", *_counted("peak MiB", row["peak_memory"], MIB), end_section=True)
    return shown


def _timed(label: str, times: dict[str, Any]) -> tuple[str, ...]:
    seconds, ratio = times["median_seconds"], times["full_over_simmim"]
    spread = f"{ratio['min']:.2f} to {ratio['max']:.2f}"
    return label, f"{seconds['simmim']:.4f}", f"{seconds['full']:.4f}", f"{ratio['median']:.2f}", spread


def _counted(label: str, counts: dict[str, int | None], unit: float) -> tuple[str, ...]:
    ours, theirs = counts["simmim"], counts["full"]
    if ours is None or theirs is None:
        return label, "not measured", "not measured", "", ""
    return label, f"{ours / unit:,.1f}", f"{theirs / unit:,.1f}", f"{theirs / ours:.2f}", ""
