"""Measures causal language models for `simmim evaluate`: bits per byte of texts or replies, in all and by position."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.text import Text

from simmim.cli.progress import track
from simmim.cli.provenance import provenance
from simmim.cli.systems import measured, name_of
from simmim.cli.tables import figure_table, near_duplicate_notes, show_record

if TYPE_CHECKING:
    from datasets import Dataset

    from simmim.cli.evaluation_data import EvaluationData
    from simmim.tasks.language_modelling.bits_per_byte import TokenCosts

__all__ = ["evaluate_language", "print_language_tables"]

XZ = "xz -9e"


def evaluate_language(
    model: Path,
    beside: Sequence[Path],
    data: EvaluationData,
    contexts: Sequence[int],
    stream: TextIO | None,
    as_json: bool,
    loading: dict[str, Any],
) -> None:
    """Measure a model and others on the same documents, and show and write what was found.

    Args:
        model: the folder of the model.
        beside: those of others.
        data: the documents.
        contexts: measure the model also with its context forgotten every so many tokens.
        stream: gets the record as JSON; None writes none.
        as_json: print JSON instead of tables.
        loading: device and dtype, as for `load_model`.

    Raises:
        CheckpointError, ConfigError, DataError: a model or the documents cannot be used.
    """
    import datasets

    from simmim.tasks.language_modelling.comparison import compare_language_models

    datasets.disable_progress_bars()  # the measurement has a bar of its own
    measures = _measures(data)
    groups = list(measures.rows["group"]) if "group" in measures.rows.column_names else None
    costs, facts = _measure(
        model, measures, {"model": None} | {f"context {size:,}": size for size in contexts}, loading
    )
    for folder in beside:
        name = name_of(folder, {*costs, XZ})
        found, about = _measure(folder, measures, {name: None}, loading)
        costs, facts = costs | found, facts | about
    whole = {name: [bits(text) for text in measures.documents] for name, bits in measures.baselines.items()}
    compared = compare_language_models(costs, groups=groups, whole=whole)
    record = {
        "kind": "language-modelling",
        "model": str(model),
        "data": data.origin,
        "unit": measures.unit,
        "rows": len(data.examples),
        "documents": len(measures.documents),
        "bytes": sum(one.bytes for one in costs["model"]),
        "systems": facts | {name: {"about": "xz -9e, each document on its own"} for name in whole},
        **compared,
        "grouped": groups is not None,
        "made": provenance(),
    }
    show_record(record, print_language_tables, stream, as_json)


@dataclass(frozen=True)
class _Measures:
    """What is read, and how.

    Attributes:
        unit: what a table calls the documents, and what is measured of them.
        rows: a row for each document.
        documents: texts, or lists of messages.
        score: `score_texts` or `score_replies`.
        baselines: ordinary compressors by name, which tell the bits of a text; none for conversations, whose replies
            are short and mean nothing alone.
    """

    unit: tuple[str, str]
    rows: Dataset
    documents: Sequence[Any]
    score: Callable[..., Iterator[tuple[int, TokenCosts]]]
    baselines: dict[str, Callable[[str], float]]


def _measures(data: EvaluationData) -> _Measures:
    from simmim.tasks.dialogue.examples import each_speaker_replies
    from simmim.tasks.language_modelling.bits_per_byte import score_replies, score_texts
    from simmim.tasks.language_modelling.comparison import xz_bits
    from simmim.tasks.language_modelling.examples import text_column

    rows = data.examples
    if "messages" in rows.column_names:
        rows = each_speaker_replies(rows) if "corpus" in data.origin else rows
        return _Measures(("conversations", "bytes of replies"), rows, list(rows["messages"]), score_replies, {})
    texts = list(rows[text_column(rows.column_names, data.origin.get("corpus", "--file"))])
    return _Measures(("documents", "bytes"), rows, texts, score_texts, {XZ: xz_bits})


def _measure(
    folder: Path, measures: _Measures, contexts: dict[str, int | None], loading: dict[str, Any]
) -> tuple[dict[str, list[TokenCosts]], dict[str, dict[str, Any]]]:
    """Load a model and measure it with each of the contexts, by the name that the result gets."""
    from transformers import AutoModelForCausalLM

    from simmim.cli.checkpoints import load_model

    model, tokenizer = load_model(folder, auto_class=AutoModelForCausalLM, **loading)
    costs, facts, count = {}, {}, len(measures.documents)
    for name, context in contexts.items():
        with measured() as cost:
            scored = measures.score(model, tokenizer, measures.documents, context=context)
            title = f"reading with {folder}" + ("" if context is None else f", {name}")
            found = dict(track(scored, title, count))
        costs[name] = [found[index] for index in range(count)]
        forgets = "" if context is None else f", the context forgotten every {context:,} tokens"
        facts[name] = {
            "about": f"{folder}{forgets}",
            "parameters": model.num_parameters(),
            "tokens": sum(len(one.nats) for one in costs[name]),
            **cost.facts(),
        }
    del model
    gc.collect()
    return costs, facts


def print_language_tables(console: Console, record: dict[str, Any]) -> None:
    """Print the figures of an evaluation; of up to three systems they fit into 80 columns."""
    data = record["data"]
    name = data.get("file") or f"{data['corpus']}, {data['split']} split"
    table = figure_table(
        f"{name}: {record['documents']:,} {record['unit'][0]}, {record['bytes']:,} {record['unit'][1]}",
        *("", "bits per byte", "model minus this", "tokens", "seconds", "peak MiB"),
    )
    for system, found in record["bits_per_byte"].items():
        facts, difference = record["systems"][system], record["differences"].get(system)
        cells = [facts.get("tokens"), facts.get("seconds"), facts.get("peak_mib")]
        table.add_row(
            Text(system),
            _interval(found),
            Text("") if difference is None else _interval(difference),
            *("" if one is None else f"{one:,.{digits}f}" for one, digits in zip(cells, (0, 1, 0), strict=True)),
        )
    console.print(table, "")
    by_position = figure_table(
        "bits per byte by position, in tokens", "", record["unit"][0], *record["by_position"][0]["bits_per_byte"]
    )
    for row in record["by_position"]:
        count = f"{row['documents']:,}" + " (few)" * row["few"]
        by_position.add_row(row["label"], count, *(_interval(found) for found in row["bits_per_byte"].values()))
    console.print(by_position, "")
    if any(row["few"] for row in record["by_position"]):
        console.print(f"(few): fewer than 30 {record['unit'][0]}, whose interval says little", highlight=False)
    if record["rows"] != record["documents"]:
        console.print(f"{record['rows']:,} conversations, each as every speaker who replies in it", highlight=False)
    for note in near_duplicate_notes(data):
        console.print(note, highlight=False)


def _interval(found: dict[str, float]) -> Text:
    return Text(f"{found['mean']:.3f}\n[{found['low']:.3f}, {found['high']:.3f}]")
