"""Writes the report of an evaluation: one HTML file with tables, plots and examples that needs nothing from outside."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from lab.reports.length_plots import COLOURS, plot_by_length

__all__ = ["render", "template"]

METRICS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
PLOTTED = ("rouge1", "rouge2", "rougeL")


def render(record: dict[str, Any]) -> str:
    """Write the page.

    Args:
        record: what `simmim evaluate --output` writes of a model that writes summaries.

    Returns:
        HTML. Whatever came from documents and systems is escaped, and no control character is left in it.
    """
    systems = list(record["rouge"])
    return template("summarization_report.html.jinja").render(
        record=record,
        metrics=METRICS,
        plots=[plot_by_length(record, metric, METRICS[metric]) for metric in PLOTTED],
        colours={name: COLOURS[place % len(COLOURS)] for place, name in enumerate(systems)},
        groups={
            kind: [one for one in record["examples"] if one["kind"] == kind] for kind in ("best", "worst", "random")
        },
    )


def template(name: str) -> Template:
    """Return a template of a report, which escapes what it is given.

    Args:
        name: of its file beside this one.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _shown(value: object) -> object:
    """Replace in a text what HTML does not allow, and what would turn the direction of the text around it."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(one if one == "\n" or one.isprintable() else " " if one.isspace() else "\ufffd" for one in value)
