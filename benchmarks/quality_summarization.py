"""Measures how well SimMIM summarises beside full attention, block-local attention and LED, all trained alike.

``python -m benchmarks.quality_summarization`` runs everything; ``benchmarks/README.md`` says what the figures mean.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets, disable_progress_bars
from rich.console import Console
from transformers import PreTrainedTokenizerBase

import lab.corpora  # noqa: F401  (registers the corpora)
from benchmarks.measure import in_fresh_process, run_facts
from benchmarks.options import given_options, held_data, refuse_below
from benchmarks.quality_models import FORMS, Size
from benchmarks.quality_report import gather, gather_long, long_table, plot, score_corpus, table
from benchmarks.quality_training import Cell, Training, score, train
from benchmarks.report import save
from simmim.atomic import replaced_file, replaced_folder
from simmim.data.corpora import load_corpus, load_manifest
from simmim.data.tokenizer import train_tokenizer
from simmim.errors import ConfigError
from simmim.tasks.summarization.examples import tokenize_examples

__all__ = ["main", "prepare"]

RESULTS = Path(__file__).parent / "results"
COPYING = {"off": (False,), "on": (True,), "both": (False, True)}


def prepare(work: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Write tokenizer and data, unless they are there; return what is known of the data.

    Documents are cut to ``max_source_tokens`` in all splits, for every system to the same text; summaries to learn from
    are cut to ``max_target_tokens``. Both are counted. Rows of the test split that are marked ``near_duplicate`` are
    left out and counted.

    Args:
        work: the folder of the benchmark.
        settings: what its cells depend on.

    Raises:
        ConfigError: the folder was made with other settings.
    """
    known = work / "settings.json"
    data = held_data(known, settings, "the cells in {} were made with")
    if data is not None:
        return data
    work.mkdir(parents=True, exist_ok=True)
    splits = {name: load_corpus(name) for name in settings["corpus"]}
    most = _each(settings["limit_train"], splits)
    learnt = _joined({name: _drawn(found["train"], most[name]) for name, found in splits.items()})
    tokenizer = train_tokenizer(
        (text for row in learnt for text in (row["document"], row["summary"])), settings["vocab_size"]
    )
    with replaced_folder(work / "tokenizer") as draft:
        tokenizer.save_pretrained(draft)
    data = {"corpora": {name: {"manifest": load_manifest(name)} for name in splits}}
    _write(work / "data" / "train", learnt, tokenizer, settings, data)
    for split in ("validation", "test"):
        rows = {name: found[split] for name, found in splits.items()}
        if split == "test":
            rows = {name: found.filter(lambda row: not row["near_duplicate"]) for name, found in rows.items()}
            for name, found in rows.items():
                data["corpora"][name]["near_duplicates_left_out"] = len(splits[name][split]) - len(found)
        drawn = {name: _drawn(found, settings["limit_test"]) for name, found in rows.items()}
        _write(work / "data" / split, _joined(drawn), tokenizer, settings, data)
    data["vocab_size"] = len(tokenizer)
    with replaced_file(known) as stream:
        stream.write(json.dumps({"settings": settings, "data": data}, indent=2, ensure_ascii=False) + "\n")
    return data


def _each(limits: Sequence[int] | None, corpora: Collection[str]) -> dict[str, int | None]:
    """Return the most documents of each corpus: none said, one number for all, or one for each."""
    said: list[int | None] = [*limits] if limits else [None]
    if len(said) == 1:
        said *= len(corpora)
    if len(said) != len(corpora):
        raise ConfigError(f"--limit-train: expected one number, or one for each of {len(corpora)} corpora, got {said}")
    return dict(zip(corpora, said, strict=True))


def _joined(parts: dict[str, Dataset]) -> Dataset:
    """Put corpora one after the other, each row with the name of its own."""
    return concatenate_datasets([rows.add_column("corpus", [name] * len(rows)) for name, rows in parts.items()])


def _write(
    folder: Path, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any], data: dict[str, Any]
) -> None:
    """Write a split with its ids, and add to each corpus what is known of it there."""
    found, facts = _tokenized(rows, tokenizer, settings)
    for name, of in facts.items():
        data["corpora"][name].setdefault("splits", {})[folder.name] = of
    folder.parent.mkdir(exist_ok=True)
    with replaced_folder(folder) as draft:
        found.save_to_disk(draft)


def _drawn(rows: Dataset, limit: int | None) -> Dataset:
    return rows if limit is None or limit >= len(rows) else rows.shuffle(seed=0).select(range(limit))


def _tokenized(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any]
) -> tuple[Dataset, dict[str, dict[str, int]]]:
    """Return rows with ids and the text that those stand for; and of each corpus how many were cut."""
    source, target = settings["max_source_tokens"], settings["max_target_tokens"]
    whole = tokenize_examples(rows, tokenizer)
    cut = tokenize_examples(rows, tokenizer, max_source_tokens=source, max_target_tokens=target)
    texts = tokenizer.batch_decode(list(cut["input_ids"]), skip_special_tokens=True)
    facts: dict[str, dict[str, int]] = {}
    names = ("documents", "documents_cut", "summaries_cut", "longest_document", "tokens")
    for name, length, kept, labels in zip(rows["corpus"], whole["length"], cut["length"], whole["labels"], strict=True):
        of = facts.setdefault(name, dict.fromkeys(names, 0))
        of["documents"] += 1
        of["documents_cut"] += length > source
        of["summaries_cut"] += len(labels) > target
        of["longest_document"] = max(of["longest_document"], kept)
        of["tokens"] += kept
    cut = cut.add_column("document", texts)
    for name in ("summary", "group", "corpus"):
        cut = cut.add_column(name, list(rows[name]))
    return cut, facts


def _run(arguments: argparse.Namespace, training: Training, console: Console) -> dict[str, Any]:
    """Train and score every cell, each in a process of its own; return their figures by form and copy head."""
    found: dict[str, Any] = {}
    for copy_head in COPYING[arguments.copy]:
        for form in arguments.forms:
            searched = {
                rate: _one(train, arguments.work, training, Cell(form, copy_head, rate, arguments.seeds[0]), console)
                for rate in arguments.learning_rates
            }
            search = {rate: figures["validation_loss"] for rate, figures in searched.items()}
            best = min(search, key=search.__getitem__)
            cells = [Cell(form, copy_head, best, seed) for seed in arguments.seeds]
            others = [_one(train, arguments.work, training, cell, console) for cell in cells[1:]]
            trained = [searched[best], *others]
            written = [_one(score, arguments.work, training, cell, console) for cell in cells]
            found[f"{form}{'-copy' * copy_head}"] = {
                "form": form,
                "copy_head": copy_head,
                "validation_loss_by_learning_rate": {f"{rate:g}": loss for rate, loss in search.items()},
                "learning_rate": best,
                "at_edge_of_grid": len(search) > 1 and best in (min(search), max(search)),
                "trained": trained,
                "written": written,
            }
    return found


def _one(step: Any, work: Path, training: Training, cell: Cell, console: Console) -> dict[str, Any]:
    with console.status(f"{step.__name__} {cell.name}"):
        figures: dict[str, Any] = in_fresh_process(step, work, training, cell)
    loss = f", validation loss {figures['validation_loss']:.4f}" if "validation_loss" in figures else ""
    console.print(f"{step.__name__} {cell.name}: {figures['seconds']:,.0f} s{loss}", highlight=False)
    return figures


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality_summarization",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--corpus", nargs="+", default=["debian-descriptions"], help="corpora by name, trained on together")
    add(
        "--limit-train", type=int, nargs="+", help="most documents to learn from of every corpus, or of each; none: all"
    )
    add("--limit-test", type=int, help="most documents of the validation and the test split of each corpus")
    add("--max-source-tokens", type=int, default=1024, help="cut longer documents, for all systems alike")
    add("--max-target-tokens", type=int, default=64, help="cut longer summaries to learn from; longest one written")
    add("--vocab-size", type=int, default=8192, help="tokens of the tokenizer, trained on the train split")
    add("--steps", type=int, default=2000, help="updates of every model")
    add("--tokens-per-batch", type=int, default=8192, help="source tokens of a batch, padding included")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--learning-rates", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3], help="tried with the first seed")
    add("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    add("--copy", choices=COPYING, default="both", help="without, with the copy head, or both")
    for name, default in (("hidden-size", 256), ("intermediate-size", 704), ("layers", 4), ("decoder-layers", 2)):
        add(f"--{name}", type=int, default=default)
    add("--heads", type=int, default=4)
    add("--segment-length", type=int, default=64)
    add("--dropout", type=float, default=0.1)
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="bfloat16: autocast")
    add("--beams", type=int, default=4)
    add("--batch-size", type=int, default=16, help="documents summarised at a time")
    add("--threads", type=int, default=2, help="of torch")
    add("--work", type=Path, default=Path("runs/quality-summarization"), help="finished cells; run again to go on")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    refuse_below(parser, arguments, "seeds", "dropout")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, write its results and print them."""
    arguments = _arguments(argv)
    disable_progress_bars()
    console = Console()
    plan = ("seeds", "learning_rates", "forms", "copy", "work", "out")  # may change between runs of one folder
    settings = {name: value for name, value in vars(arguments).items() if name not in plan}
    data = prepare(arguments.work, settings)
    sizes = {name: settings[name] for name in Size.__dataclass_fields__ if name != "vocab_size"}
    training = Training(
        size=Size(vocab_size=data["vocab_size"], **sizes),
        **{name: settings[name] for name in Training.__dataclass_fields__ if name != "size"},
    )
    command = " ".join(["python -m benchmarks.quality_summarization", *given_options(arguments, ("work", "out"))])
    systems = _run(arguments, training, console)
    machine = next(iter(systems.values()))["trained"][0]["machine"]
    record = run_facts("quality-summarization", command, machine)
    record |= {"data": data, "training": asdict(training), "seeds": arguments.seeds, "systems": systems}
    scored = {name: score_corpus(arguments.work, name, systems) for name in arguments.corpus}
    record["scores"] = {name: gather(of) for name, of in scored.items()}
    record["long_documents"] = gather_long(scored)
    for found in record["systems"].values():
        found["written"] = [{key: value for key, value in one.items() if key != "texts"} for one in found["written"]]
    stem = arguments.out / f"{record['date']}-quality-summarization-{'-'.join(arguments.corpus)}"
    written = save(record, stem, plot)
    tables = [table(record, name) for name in arguments.corpus]
    console.print(*tables, *([long_table(record)] if record["long_documents"] else []), sep="\n")
    console.print(f"written: {written[0]} and {written[1].name}", soft_wrap=True)


if __name__ == "__main__":
    main()
