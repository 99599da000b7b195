"""Draws the figures of an evaluation by ranges, as SVG that takes its text colour from the page around it."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

__all__ = ["COLOURS", "plot_by_length", "plot_intervals"]

# Told apart on white and on black, by lightness too.
COLOURS = ("#1f8fc4", "#d9772b", "#3da35d", "#b067c9", "#d1495b", "#9a8c2c", "#6c7a89")
_TEXT = "#0a0b0c"  # stands for the colour of the page's text, and for nothing else
_MARKERS = "osD^vPX"


def plot_by_length(record: dict[str, Any], metric: str, label: str) -> str:
    """Draw one metric of every system against the length of documents, with its 95 % intervals.

    Args:
        record: what `simmim evaluate --output` writes.
        metric: `rouge1` for instance.
        label: its name for people.

    Returns:
        An `<svg>` element without references to anything outside; ranges of few documents have hollow marks.
    """
    rows = [row for row in record["by_length"] if row["documents"]]
    values = [{name: found[metric] for name, found in row["rouge"].items()} for row in rows]
    return plot_intervals(rows, values, metric, label)


def plot_intervals(
    rows: Sequence[Mapping[str, Any]],
    values: Sequence[Mapping[str, Mapping[str, float]]],
    name: str,
    label: str,
    *,
    width: float = 5.2,
) -> str:
    """Draw one figure of every system in every range, with its 95 % interval.

    Args:
        rows: the ranges: `label`, `documents`, and `few` for hollow marks.
        values: in each range, `mean`, `low` and `high` of each system.
        name: of the drawing, unlike that of others on a page.
        label: what is drawn, for people.
        width: in inches, of 3.6 in height.

    Returns:
        An `<svg>` element without references to anything outside.
    """
    names = list(values[0])
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 11}):
        figure = Figure(figsize=(width, 3.6), layout="constrained", facecolor="none")
        canvas = FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.set_facecolor("none")
        for place, system in enumerate(names):
            shift = 0.5 * ((place + 0.5) / len(names) - 0.5)
            for column, row in enumerate(rows):
                found = values[column][system]
                colour = COLOURS[place % len(COLOURS)]
                axes.errorbar(
                    [column + shift],
                    [found["mean"]],
                    yerr=[[max(found["mean"] - found["low"], 0)], [max(found["high"] - found["mean"], 0)]],
                    fmt=_MARKERS[place % len(_MARKERS)],
                    color=colour,
                    markerfacecolor="none" if row["few"] else colour,
                    markersize=6,
                    capsize=2.5,
                    elinewidth=1.3,
                )
        axes.set_xticks(range(len(rows)), [f"{row['label']}\n{row['documents']:,} docs" for row in rows])
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.set_ylabel(label, color=_TEXT)
        axes.tick_params(colors=_TEXT)
        axes.grid(axis="y", color=_TEXT, alpha=0.15, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_TEXT)
        drawn = io.StringIO()
        canvas.print_svg(drawn, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _embeddable(drawn.getvalue(), name)


def _embeddable(svg: str, prefix: str) -> str:
    """Cut an SVG file down to its element, with names of its own and the page's text colour."""
    svg = svg[svg.index("<svg") :].replace(_TEXT, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'xlink:href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    # the page's font, and a size that follows the page's width
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", svg)
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
