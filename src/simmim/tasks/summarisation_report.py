"""Writes the report of an evaluation: one HTML file with tables, plots and examples that needs nothing from outside."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from simmim.tasks.comparison import Examples
from simmim.tasks.length_plots import COLOURS, plot_by_length
from simmim.tasks.rouge import Rouge

__all__ = ["Example", "choose_examples", "render", "template"]

METRICS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
PLOTTED = ("rouge1", "rouge2", "rougeL")
_BEGINNING = 600  # characters of a document that are shown
_ROUGE_L = 2  # its column


@dataclass(frozen=True)
class Example:
    """One document with everything that was written about it.

    Attributes:
        kind: `best`, `worst` or `random`.
        row: its place among the documents.
        tokens: its length.
        beginning: of its text.
        reference: the summary written by a person.
        written: of each system the summary and its ROUGE-L.
    """

    kind: str
    row: int
    tokens: int
    beginning: str
    reference: str
    written: Mapping[str, tuple[str, float]]


def choose_examples(
    systems: Mapping[str, Sequence[str]], scores: Mapping[str, Rouge], examples: Examples, *, each: int = 4
) -> list[Example]:
    """Choose the documents to show: the best and the worst by ROUGE-L of the first system, and random others.

    Args:
        systems: the summaries of each system.
        scores: of each system.
        examples: the documents.
        each: how many of each kind; no document comes twice, so there may be fewer.
    """
    first = next(iter(systems))
    order = sorted(range(len(examples.documents)), key=lambda row: -scores[first].scores[row, _ROUGE_L])
    # of few documents, each kind gets its part
    count = min(each, max(len(order) // 3, 1))
    best, rest = order[:count], order[count:]
    worst, rest = rest[::-1][:count], rest[: max(len(rest) - count, 0)]
    drawn = random.Random(0).sample(rest, min(count, len(rest)))
    return [
        Example(
            kind=kind,
            row=row,
            tokens=examples.tokens[row],
            beginning=_beginning(examples.documents[row]),
            reference=examples.references[row],
            written={name: (texts[row], float(scores[name].scores[row, _ROUGE_L])) for name, texts in systems.items()},
        )
        for kind, rows in (("best", best), ("worst", worst), ("random", drawn))
        for row in rows
    ]


def render(record: dict[str, Any], examples: Sequence[Example]) -> str:
    """Write the page.

    Args:
        record: what `simmim evaluate --json` writes.
        examples: what to show side by side.

    Returns:
        HTML. Whatever came from documents and systems is escaped, and no control character is left in it.
    """
    systems = list(record["rouge"])
    return template("summarisation_report.html.jinja").render(
        record=record,
        metrics=METRICS,
        plots=[plot_by_length(record, metric, METRICS[metric]) for metric in PLOTTED],
        colours={name: COLOURS[place % len(COLOURS)] for place, name in enumerate(systems)},
        groups={kind: [one for one in examples if one.kind == kind] for kind in ("best", "worst", "random")},
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


def _beginning(document: str) -> str:
    text = document.strip()
    return text if len(text) <= _BEGINNING else text[:_BEGINNING].rstrip() + " …"


def _shown(value: object) -> object:
    """Replace in a text what HTML does not allow, and what would turn the direction of the text around it."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(one if one == "\n" or one.isprintable() else " " if one.isspace() else "\ufffd" for one in value)
