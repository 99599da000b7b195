"""Measures how well forms of SimMIM model long documents beside full, local and sliding-window attention.

``python -m benchmarks.quality_language_modelling`` runs everything; ``benchmarks/README.md`` says what figures mean.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets, disable_progress_bars
from rich.console import Console

import lab.corpora  # noqa: F401  (registers the corpora)
from benchmarks.language_cells import LanguageCell, LanguageTraining, run_cell
from benchmarks.language_models import FORMS, LanguageSize, build_language_model
from benchmarks.language_report import gather, plot, table
from benchmarks.measure import run_facts
from benchmarks.options import given_options, held_data, refuse_below
from benchmarks.report import save
from simmim.atomic import replaced_file, replaced_folder
from simmim.data.corpora import load_corpus, load_manifest
from simmim.data.tokenizer import train_tokenizer
from simmim.errors import ConfigError
from simmim.tasks.language_modelling.examples import text_column, tokenize_texts
from simmim.tasks.language_modelling.packing import pack_rows

__all__ = ["main", "prepare"]

RESULTS = Path(__file__).parent / "results"


def prepare(work: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Write tokenizer, packed sequences and test texts, unless they are there; return what is known of them.

    Args:
        work: the folder of the benchmark.
        settings: what they depend on.

    Raises:
        ConfigError: the folder was made with other settings.
    """
    known = work / "settings.json"
    data = held_data(known, settings, "the data in {} was made with")
    if data is not None:
        return data
    (work / "data").mkdir(parents=True, exist_ok=True)
    corpora = {name: load_corpus(name) for name in settings["corpora"]}
    texts = {split: _joined([found[split] for found in corpora.values()]) for split in ("train", "validation", "test")}
    if settings["limit_train"] is not None:
        texts["train"] = texts["train"].shuffle(seed=0).select(range(min(settings["limit_train"], len(texts["train"]))))
    tokenizer = train_tokenizer(texts["train"]["text"], settings["vocab_size"])
    with replaced_folder(work / "tokenizer") as draft:
        tokenizer.save_pretrained(draft)
    digest = hashlib.sha256()
    data = {"corpora": {name: load_manifest(name) for name in corpora}, "vocab_size": len(tokenizer), "splits": {}}
    for split, rows in texts.items():
        documents = tokenize_texts(rows, tokenizer)
        for ids in documents.with_format("numpy")["input_ids"]:
            digest.update(ids.astype("<i4").tobytes())
        data["splits"][split] = {
            "documents": len(rows),
            "tokens": sum(documents["length"]),
            "bytes": sum(len(text.encode()) for text in rows["text"]),
            "longest": max(documents["length"]),
        }
        kept = rows if split == "test" else pack_rows(documents, settings["sequence_length"])
        with replaced_folder(work / "data" / split) as draft:
            kept.save_to_disk(draft)
    data |= {"sha256": digest.hexdigest(), "groups": list(texts["test"]["group"])}
    with replaced_file(known) as stream:
        stream.write(json.dumps({"settings": settings, "data": data}, indent=2, ensure_ascii=False) + "\n")
    return data


def _joined(parts: Sequence[Dataset]) -> Dataset:
    """Join texts with their groups; near-duplicates of earlier splits are left out."""
    found = []
    for rows in parts:
        rows = rows.filter(lambda row: not row["near_duplicate"])
        column = text_column(rows.column_names, "corpus")
        rows = rows.select_columns([column, "group"])
        found.append(rows if column == "text" else rows.rename_column(column, "text"))
    return concatenate_datasets(found)


def _run(arguments: argparse.Namespace, training: LanguageTraining, data: dict[str, Any], console: Console) -> Any:
    """Train every cell: first short ones to choose the learning rates, then the others; return what is done."""
    deadline = None if arguments.minutes is None else time.time() + 60 * arguments.minutes
    rates, short = arguments.learning_rates, arguments.tuning_tokens

    def done(cells: Sequence[LanguageCell]) -> dict[str, dict[str, Any]]:
        return {
            figures["name"]: figures
            for figures in _cells(arguments, training, cells, data["sha256"], deadline, console)
        }

    searched: dict[str, dict[float, float]] = {form: {} for form in arguments.forms}
    if len(rates) > 1:
        cells = [LanguageCell(form, rate, 0, short, False) for form in arguments.forms for rate in rates]
        for figures in done(cells).values():
            searched[figures["form"]][figures["learning_rate"]] = figures["validation_loss"]
    chosen = {
        form: min(found, key=found.__getitem__) if found else rates[0]
        for form, found in searched.items()
        if len(found) == len(rates) or len(rates) == 1
    }
    finals = [
        LanguageCell(form, rate, seed, arguments.tokens, True)
        for seed in arguments.seeds
        for form, rate in chosen.items()
    ]
    scored = done(finals)
    return {
        form: {
            "validation_loss_by_learning_rate": {f"{one:g}": loss for one, loss in searched[form].items()},
            "learning_rate": rate,
            "at_edge_of_grid": len(rates) > 1 and rate in (min(rates), max(rates)),
            "cells": [scored[cell.name] for cell in finals if cell.form == form and cell.name in scored],
        }
        for form, rate in chosen.items()
    }


def _cells(
    arguments: argparse.Namespace,
    training: LanguageTraining,
    cells: Sequence[LanguageCell],
    data: str,
    deadline: float | None,
    console: Console,
) -> Iterator[dict[str, Any]]:
    """Run cells, some at a time, each in a process of its own; yield the figures of those that are done.

    A cell that fails does not keep the others from their end; then its error is raised.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        settings = (arguments.work, arguments.cells, training)
        waiting = {pool.submit(run_cell, *settings, cell, data, deadline): cell for cell in cells}
        for future in as_completed(waiting):
            cell = waiting[future]
            if future.exception() is not None:
                console.print(f"{cell.name}: failed", highlight=False)
                continue
            figures = future.result()
            if figures is None:
                console.print(f"{cell.name}: not done; run again to go on", highlight=False)
                continue
            _check(figures, training, data, arguments.cells / f"{cell.name}.json")
            console.print(
                f"{cell.name}: {figures['tokens_per_cpu_second']:,.0f} tokens per CPU second, "
                f"validation loss {figures['validation_loss']:.4f}",
                highlight=False,
            )
            yield {**figures, "name": cell.name}
        for future in waiting:
            future.result()


def _check(figures: dict[str, Any], training: LanguageTraining, data: str, file: Path) -> None:
    """Refuse a cell that was made of other data, or otherwise."""
    if figures["data_sha256"] != data:
        raise ConfigError(f"--cells: {file} was made of other data (packages may have changed); pass an empty folder")
    made, wanted = figures["training"], asdict(training)
    for name in ("size", "tokens_per_batch", "warmup_tokens", "dtype"):
        was = made.get(name)
        if was != wanted[name]:
            raise ConfigError(
                f"--cells: {file} was made with {name} {was}, this run has {wanted[name]}; pass another folder"
            )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality_language_modelling",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--corpora", nargs="+", default=["state-of-the-union", "debian-documentation"], help="corpora by name")
    add("--limit-train", type=int, help="only so many documents to learn from, drawn at random; none: all")
    add("--vocab-size", type=int, default=4096, help="tokens of the tokenizer, trained on the train split")
    add("--sequence-length", type=int, default=4096, help="tokens of a training sequence")
    add("--tokens", type=int, default=20_000_000, help="that every model learns from")
    add("--tokens-per-batch", type=int, default=8192)
    add("--warmup-tokens", type=int, default=1_000_000, help="while the learning rate rises; half of a run at most")
    add("--tuning-tokens", type=int, default=2_000_000, help="of the short runs that choose the learning rate")
    add("--learning-rates", type=float, nargs="+", default=[1e-3, 2e-3, 4e-3], help="tried with seed 0")
    add("--seeds", type=int, nargs="+", default=[0, 1])
    add("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    for name, default in (("hidden-size", 128), ("intermediate-size", 704), ("layers", 4), ("heads", 4)):
        add(f"--{name}", type=int, default=default)
    add("--segment-length", type=int, default=64)
    add("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="bfloat16: autocast")
    add("--threads", type=int, default=1, help="of torch, in each process")
    add("--jobs", type=int, default=1, help="cells at a time, each in a process of its own")
    add("--minutes", type=float, help="stop after so many, at a checkpoint; run again to go on")
    add("--checkpoint-seconds", type=float, default=120.0, help="what a process that is killed may lose")
    add("--work", type=Path, default=Path("runs/quality-language-modelling"), help="data, checkpoints and weights")
    add("--cells", type=Path, default=RESULTS / "language-modelling-cells", help="figures of finished cells")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    refuse_below(parser, arguments, "seeds")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, write its results and print them."""
    arguments = _arguments(argv)
    disable_progress_bars()
    console = Console()
    made_of = ("corpora", "limit_train", "vocab_size", "sequence_length")
    data = prepare(arguments.work, {name: getattr(arguments, name) for name in made_of})
    sizes = {name: getattr(arguments, name) for name in LanguageSize.__dataclass_fields__ if name != "vocab_size"}
    given = {name: getattr(arguments, name) for name in LanguageTraining.__dataclass_fields__ if name != "size"}
    training = LanguageTraining(LanguageSize(vocab_size=data["vocab_size"], **sizes), **given)
    for form in arguments.forms:  # what cannot be built is refused before any cell is trained
        build_language_model(form, training.size)
    arguments.cells.mkdir(parents=True, exist_ok=True)
    forms = _run(arguments, training, data, console)
    if not any(found["cells"] for found in forms.values()):
        console.print("nothing to show yet: no cell is done")
        return
    command = " ".join(
        [
            "python -m benchmarks.quality_language_modelling",
            *given_options(arguments, ("work", "cells", "out", "jobs", "minutes", "checkpoint_seconds")),
        ]
    )
    machine = next(found["cells"][0]["machine"] for found in forms.values() if found["cells"])
    record = run_facts("quality-language-modelling", command, machine)
    groups = data.pop("groups")
    record |= {"data": data, "training": asdict(training), "seeds": arguments.seeds, "tokens": arguments.tokens}
    record |= gather(forms, groups)
    written = save(record, arguments.out / f"{record['date']}-quality-language-modelling", plot)
    console.print(table(record))
    console.print(f"written: {written[0]} and {written[1].name}", soft_wrap=True)


if __name__ == "__main__":
    main()
