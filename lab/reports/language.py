"""Writes the report of a language model's evaluation: one HTML file that needs nothing from outside."""

from typing import Any

from lab.reports.length_plots import COLOURS, plot_intervals
from lab.reports.summarization import template

__all__ = ["render_language_report"]


def render_language_report(record: dict[str, Any]) -> str:
    """Write the page.

    Args:
        record: what `simmim evaluate --output` writes of a language model.

    Returns:
        HTML. Whatever came from names and texts is escaped.
    """
    rows = record["by_position"]
    systems, differing = list(rows[0]["bits_per_byte"]), list(rows[0]["differences"])
    values = [row["bits_per_byte"] for row in rows]
    return template("language_report.html.jinja").render(
        record=record,
        plot=plot_intervals(rows, values, "position", "bits per byte", width=2 + 1.1 * len(rows)),
        colours={name: COLOURS[place % len(COLOURS)] for place, name in enumerate(systems)},
        differing=differing,
    )
