"""Shows the records of the scaling benchmark: pictures on logarithmic axes, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.report import FORMS, in_short, logarithmic

__all__ = ["flops_table", "forward_table", "plot_flops", "plot_forward"]

GB = 1e9
LIMIT_GB = 8
"""The memory of a small laptop, drawn as a line."""


def plot_flops(record: dict[str, Any]) -> Figure:
    """Draw FLOPs per token against the length: the stated ones as lines, the counted ones as points."""
    figure, rows = _figure(9.5, 6), record["lengths"]
    axes = figure.subplots()
    lengths = [row["length"] for row in rows]
    powers = {form: _power(record["exponents"]["counted"][form]) for form in FORMS}
    for form, (label, colour, marker) in FORMS.items():
        stated, counted = ([row[what][form] / row["length"] / 1e6 for row in rows] for what in ("stated", "counted"))
        axes.plot(lengths, stated, color=colour, linewidth=1.6)
        axes.plot(lengths, counted, color=colour, marker=marker, linestyle="", label=f"{label}: {powers[form]}")
    logarithmic(axes, lengths, [in_short(length) for length in lengths], "forward pass, MFLOP per token")
    fitted = [in_short(length) for length in record["exponents"]["lengths"]]
    axes.legend(
        frameon=False,
        title=f"points: counted, lines: stated\ntotal, from {fitted[0]} to {fitted[-1]} tokens, grows as",
        alignment="left",
    )
    worst = max(record["worst_deviation"].values())
    figure.suptitle(
        f"One attention layer, in the end: {powers['all']} if tokens read all states, {powers['literal']} in the "
        f"literal form, {powers['pyramid']} with the pyramid\n"
        f"{record['hidden_size']} channels, segments of {record['segment_length']} tokens; counted and stated FLOPs "
        + (f"differ by {worst:.2g} of the stated at most" if worst else "are equal"),
        fontsize=11,
    )
    return figure


def plot_forward(record: dict[str, Any]) -> Figure:
    """Draw the time of a forward pass and the peak memory of its process against the length."""
    figure = _figure(12, 5.4)
    panels = figure.subplots(1, 2)
    done = [row for row in record["points"] if "failed" not in row]
    lengths = sorted({row["length"] for row in record["points"]})
    held = [row for row in done if row["peak_bytes"] is not None]
    _growth(panels[0], done, record, "median_seconds", 1)
    _finish(panels[0], lengths, "forward pass (s)")
    if held:
        _growth(panels[1], held, record, "peak_bytes", GB)
        imported = max(row["imported_bytes"] for row in held) / GB
        for level, name, style in ((LIMIT_GB, f"{LIMIT_GB} GB", "--"), (imported, "held after importing", ":")):
            panels[1].axhline(level, color="#444444", linestyle=style, linewidth=1)
            panels[1].annotate(name, (lengths[0], level), (0, 4), textcoords="offset points", fontsize=9)
        _finish(panels[1], lengths, "peak memory of the process (GB)")
    else:
        panels[1].set_axis_off()
        panels[1].text(0.5, 0.5, "memory: not measured", transform=panels[1].transAxes, ha="center")
    figure.suptitle("\n".join((_finding(done), _of(record))), fontsize=11)
    failed = [f"{row['reach']} at {in_short(row['length'])}" for row in record["points"] if "failed" in row]
    if failed:
        figure.text(0.01, 0.005, f"failed: {', '.join(failed)}", fontsize=9, color="#b00020")
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _growth(axes: Axes, rows: Sequence[dict[str, Any]], record: dict[str, Any], what: str, unit: float) -> None:
    """Draw one quantity of either reach, with its exponents in the legend."""
    for reach, fits in record["exponents"].items():
        points = [(row["length"], row[what] / unit) for row in rows if row["reach"] == reach]
        if points:
            label, colour, marker = FORMS[reach]
            text = f"{label}: {_powers(fits[what])}"
            if what == "peak_bytes":
                text += f"\nabove what importing holds: {_powers(fits['above_import_bytes'])}"
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=text)


def _finish(axes: Axes, lengths: Sequence[int], label: str) -> None:
    """Make the axes logarithmic, and put the legend below, where no point can be."""
    logarithmic(axes, lengths, [in_short(length) for length in lengths], label)
    axes.margins(y=0.1)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), alignment="left")


def _powers(fit: dict[str, float | None]) -> str:
    """Write the exponent over all lengths, and that over the long ones if there are enough of them."""
    (_, whole), (since, end) = fit.items()
    return f"{_power(whole)} over all" + (
        "" if end is None else f", {_power(end)} from {in_short(int(since.split()[-1]))}"
    )


def _finding(done: Sequence[dict[str, Any]]) -> str:
    """Say what the longest document took that was encoded."""
    if not done:
        return "No length could be measured"
    longest = max(row["length"] for row in done)
    found = []
    for row in (row for row in done if row["length"] == longest):
        memory = "" if row["peak_bytes"] is None else f" and {row['peak_bytes'] / GB:.1f} GB"
        found.append(f"{row['median_seconds']:,.3g} s{memory} ({FORMS[row['reach']][0]})")
    return f"Encoding {longest:,} tokens takes {', '.join(found)}"


def _of(record: dict[str, Any]) -> str:
    machine = record["machine"]
    return (
        f"{record['num_hidden_layers']} layers of {record['hidden_size']} channels, segments of "
        f"{record['segment_length']} tokens, pyramid, {record['dtype']}; {machine['processor']}, "
        f"{machine['threads']} thread(s), torch {machine['torch']}, {record['date']}"
    )


def _power(exponent: float | None) -> str:
    return "not fitted" if exponent is None else f"$N^{{{exponent:.2f}}}$"


def flops_table(record: dict[str, Any]) -> Table:
    """Return counted and stated FLOPs of every form as a table for the terminal."""
    shown = Table(title=record["command"])
    for heading in ("tokens", *(f"{label[0]}\ncounted / stated (GFLOP)" for label in FORMS.values())):
        shown.add_column(heading, justify="right")
    for row in record["lengths"]:
        pairs = [f"{row['counted'][form] / 1e9:,.4g} / {row['stated'][form] / 1e9:,.4g}" for form in FORMS]
        shown.add_row(f"{row['length']:,}", *pairs)
    shown.add_section()
    shown.add_row("worst deviation", *(f"{record['worst_deviation'][form]:.3%}" for form in FORMS))
    for what in ("counted", "stated"):
        powers = [record["exponents"][what][form] for form in FORMS]
        shown.add_row(f"{what}, power of N", *("" if power is None else f"{power:.3f}" for power in powers))
    return shown


def forward_table(record: dict[str, Any]) -> Table:
    """Return time and memory of every point as a table for the terminal."""
    machine = record["machine"]
    shown = Table(title=f"{record['command']}\n{machine['processor']}, {machine['threads']} thread(s)")
    for heading in ("tokens", "reach", "median (s)", "passes", "imported GB", "ready GB", "peak GB"):
        shown.add_column(heading, justify="right")
    for row in record["points"]:
        if "failed" in row:
            shown.add_row(f"{row['length']:,}", row["reach"], "failed")
            continue
        held = [row[what] for what in ("imported_bytes", "ready_bytes", "peak_bytes")]
        memory = ["not measured" if size is None else f"{size / GB:.2f}" for size in held]
        shown.add_row(
            f"{row['length']:,}", row["reach"], f"{row['median_seconds']:.3f}", str(len(row["seconds"])), *memory
        )
    return shown
