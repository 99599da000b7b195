"""Shows the record of an evaluation as tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simmim.terminal import SafeConsole

__all__ = ["print_tables", "show_record"]

_METRICS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}


def show_record(
    record: dict[str, Any], tables: Callable[[Console, dict[str, Any]], None], stream: TextIO | None, as_json: bool
) -> None:
    """Print the record of an evaluation, as tables or as a JSON object, and write it.

    Args:
        record: what was found.
        tables: prints it for people.
        stream: gets it as JSON; None for nobody.
        as_json: print JSON instead of tables.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    if as_json:
        # ASCII, so that nothing in a document steers the terminal
        print(json.dumps(record, indent=2))
    else:
        tables(SafeConsole(), record)
    if stream is not None:
        stream.write(text)


def print_tables(console: Console, record: dict[str, Any]) -> None:
    """Print the figures of an evaluation; they fit into 80 columns.

    Args:
        console: where to.
        record: what `simmim evaluate --output` writes.
    """
    for table in (_scores(record), _by_length(record), _costs(record)):
        console.print(table, "")
    for line in _notes(record):
        console.print(line, highlight=False, markup=False)


def _scores(record: dict[str, Any]) -> Table:
    data = record["data"]
    name = data.get("file") or f"{data['corpus']}, {data['split']} split"
    table = figure_table(f"{name}: {record['documents']:,} documents", "", *_METRICS.values())
    for system, found in record["rouge"].items():
        table.add_row(Text(system), *(_interval(found[metric]) for metric in _METRICS))
    table.add_section()
    for system, found in record["differences"].items():
        table.add_row(Text(f"- {system}"), *(_interval(found[metric]) for metric in _METRICS))
    return table


def _by_length(record: dict[str, Any]) -> Table:
    rows = [row for row in record["by_length"] if row["documents"]]
    headings = [f"{row['label']}\n{row['documents']:,} documents{' (few)' * row['few']}" for row in rows]
    table = figure_table("ROUGE-L by tokens of the document", "", *headings)
    for name in record["rouge"]:
        table.add_row(Text(name), *(_interval(row["rouge"][name]["rougeL"]) for row in rows))
    return table


def _costs(record: dict[str, Any]) -> Table:
    table = figure_table("", "", "words", "novel 3-grams", "parameters", "seconds", "peak MiB")
    for name in (*record["rouge"], "reference"):
        novelty, system = record["novelty"][name], record["systems"].get(name, {})
        cells = (system.get("parameters"), system.get("seconds"), system.get("peak_mib"))
        table.add_row(
            Text(name),
            f"{record['mean_words'][name]:.1f}",
            "" if novelty is None else f"{100 * novelty:.1f} %",
            *("" if value is None else f"{value:,.{digits}f}" for value, digits in zip(cells, (0, 1, 0), strict=True)),
        )
    return table


def _notes(record: dict[str, Any]) -> Iterable[str]:
    """Say what the tables do not."""
    systems, data = record["systems"], record["data"]
    yield "ROUGE F1 x 100 [95 % interval]; rows with a minus: the model minus that system, paired"
    rule = record["word_rule"]
    yield f"words: {'English stems' if rule == 'english' else 'of any script, without stemming (no English text)'}"
    yield f"lead: {systems['lead']['about']}; textrank: {systems['textrank']['about']}"
    limit = record["decoding"]["max_new_tokens"]
    for name, facts in systems.items():
        if facts["stopped_at_limit"] is not None:
            stopped, count = facts["stopped_at_limit"], record["documents"]
            yield f"{name}: {stopped:,} of {count:,} summaries stopped at {limit} tokens"
    if any(row["few"] and row["documents"] for row in record["by_length"]):
        yield "(few): fewer than 30 documents, whose interval says little"
    yield from near_duplicate_notes(data)


def near_duplicate_notes(data: dict[str, Any]) -> Iterable[str]:
    """Say how many of the documents are nearly ones that a model may have learnt from, if any are."""
    if "left_out_near_duplicates" in data:
        yield f"{data['left_out_near_duplicates']:,} near-duplicates left out"
    elif data.get("near_duplicates"):
        yield f"{data['near_duplicates']:,} rows are near-duplicates; --without-near-duplicates leaves them out"


def figure_table(title: str, *headings: str) -> Table:
    """Return an empty table of figures: the first column for names, the others for numbers."""
    table = Table(title=Text(title) if title else None, box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if place else "left")
    return table


def _interval(found: dict[str, float]) -> Text:
    return Text(f"{found['mean']:.2f}\n[{found['low']:.2f}, {found['high']:.2f}]")
