"""Gathers what the cells of the benchmark of language found, and shows it as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.language_models import FORMS
from benchmarks.measure import hardware
from simmim.tasks.language_modelling.comparison import compare_binned, position_edges

__all__ = ["gather", "plot", "table"]

STYLES = {
    "default": ("#0b6e99", "o"),
    "states": ("#6c8ebf", "8"),
    "shared": ("#d64f8a", "h"),
    "turned": ("#12a5a0", "*"),
    "untied": ("#8a6d3b", "p"),
    "pyramid": ("#2f8f4e", "D"),
    "shift": ("#4aa3c7", "P"),
    "literal": ("#7d4f9e", "^"),
    "window": ("#c2571a", "s"),
    "local": ("#b5a642", "v"),
    "full": ("#333333", "x"),
    "window_copying": ("#e0a070", "d"),
    "full_copying": ("#999999", "+"),
}


def gather(forms: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    """Compare the first form that is done with every other one, on the test documents.

    Args:
        forms: of each form its learning rates and its finished cells, one a seed, with bits and bytes by document.
        groups: of the test documents.

    Returns:
        `forms`, of each the figures of its cells without those of single documents, and bits per byte of each seed; and
        what `compare_binned` says of the means over the seeds, over all documents and by position.
    """
    found = {name: one for name, one in forms.items() if one["cells"]}
    sizes = np.array(next(iter(found.values()))["cells"][0]["bytes"], dtype=np.float64)
    bits = {name: np.mean([cell["bits"] for cell in one["cells"]], axis=0) for name, one in found.items()}
    widest = sizes.shape[1]
    positions = position_edges(256 << (widest - 1))
    compared = compare_binned(bits, sizes, positions, groups=groups)
    shown = {}
    for name, one in forms.items():
        cells = [{key: value for key, value in cell.items() if key not in ("bits", "bytes")} for cell in one["cells"]]
        by_seed = [round(float(np.sum(cell["bits"]) / sizes.sum()), 4) for cell in one["cells"]]
        shown[name] = {**one, "cells": cells, "bits_per_byte_by_seed": by_seed}
    return {"forms": shown, **compared}


def table(record: dict[str, Any]) -> Table:
    """Return the figures as a table for the terminal."""
    machine, data = record["machine"], record["data"]
    first = next(iter(record["bits_per_byte"]))
    shown = Table(
        title=f"{', '.join(data['corpora'])}: {data['splits']['test']['documents']:,} test documents, "
        f"{record['tokens']:,} tokens learnt\n{hardware(machine)}"
    )
    headings = (
        "",
        "parameters",
        "learning rate",
        "bits per byte",
        f"{first} minus this",
        "by seed",
        "tokens per CPU s",
    )
    for heading in headings:
        shown.add_column(heading, justify="right" if heading else "left")
    for name, found in record["bits_per_byte"].items():
        form, difference = record["forms"][name], record["differences"].get(name)
        shown.add_row(
            FORMS[name],
            f"{form['cells'][0]['parameters']:,}",
            f"{form['learning_rate']:g}" + " (edge)" * form["at_edge_of_grid"],
            _interval(found),
            "" if difference is None else _interval(difference),
            ", ".join(f"{value:.4f}" for value in form["bits_per_byte_by_seed"]),
            f"{mean(cell['tokens_per_cpu_second'] for cell in form['cells']):,.0f}",
        )
    return shown


def plot(record: dict[str, Any]) -> Figure:
    """Draw bits per byte by position, and what every form pays more than the first, with intervals."""
    rows = record["by_position"]
    first = next(iter(record["bits_per_byte"]))
    figure = Figure(figsize=(14, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    columns = np.arange(len(rows))
    for place, name in enumerate(record["bits_per_byte"]):
        colour, marker = STYLES[name]
        shift = 0.6 * ((place + 0.5) / len(record["bits_per_byte"]) - 0.5)
        left.plot(
            columns,
            [row["bits_per_byte"][name]["mean"] for row in rows],
            color=colour,
            marker=marker,
            markersize=4,
            label=FORMS[name],
        )
        if name == first:
            continue
        values = [row["differences"][name] for row in rows]
        means = np.array([-value["mean"] for value in values])
        low, high = (np.array([-value[key] for value in values]) for key in ("high", "low"))
        spread = [np.maximum(means - low, 0), np.maximum(high - means, 0)]
        right.errorbar(columns + shift, means, yerr=spread, fmt=marker, color=colour, capsize=2, markersize=4)
    right.axhline(0, color=STYLES[first][0], linewidth=1)
    left.set_ylabel("bits per byte")
    right.set_ylabel(f"bits per byte more than {FORMS[first]}, 95 % intervals")
    for axes in (left, right):
        axes.set_xticks(columns, [f"{row['label']}\n({row['documents']:,})" for row in rows], fontsize=8)
        axes.set_xlabel("position in the document, in tokens (documents)")
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    machine, size = record["machine"], record["training"]["size"]
    figure.suptitle(
        f"{', '.join(record['data']['corpora'])}: {record['tokens']:,} tokens in sequences of "
        f"{size['sequence_length']:,}, {len(record['seeds'])} seed(s)\n{hardware(machine)}, "
        f"{record['training']['dtype']}, torch {machine['torch']}, {record['date']}",
        fontsize=11,
    )
    return figure


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.4f} ({found['low']:.4f} to {found['high']:.4f})"
