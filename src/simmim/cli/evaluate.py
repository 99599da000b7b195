"""The command `simmim evaluate`: score a model's summaries beside the strongest lead baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from simmim import __version__
from simmim.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from simmim.cli.generation import Summary
    from simmim.tasks.rouge import Rouge

__all__ = ["evaluate"]

_SHOWN = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    corpus: Annotated[
        str | None, typer.Option(help="A corpus by name.", show_default="what the model's recipe names")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="JSON lines with document and summary, instead.")] = None,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Which split of the corpus.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many documents, drawn at random (seed 0).")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Documents at a time.")] = 16,
    beams: Annotated[int, typer.Option(min=1, help="Width of the beam search; 1 is greedy.")] = 4,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest summary, in tokens.")] = 64,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")
    ] = None,
) -> None:
    """Measure ROUGE with 95 % intervals, beside the lead baseline that does best on the validation split.

    With --file the baseline is chosen on that very file, which favours it.
    """
    if corpus is not None and file is not None:
        raise ConfigError("--corpus and --file: expected one of them, got both")
    # these take seconds to import
    from simmim.cli.checkpoints import load_model
    from simmim.tasks.summarisation import best_lead
    from simmim.train.atomic import replaced_file

    decoding = {"beams": beams, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    with replaced_file(json_file) if json_file else nullcontext() as stream:
        network, tokenizer = load_model(model)
        examples, validation = _load_examples(model, corpus, file, split)
        if limit is not None and limit < len(examples):
            examples = examples.shuffle(seed=0).select(range(limit))
        written = _predict(network, tokenizer, list(examples["document"]), decoding)
        cut = sum(not summary.complete for summary in written)
        lead = best_lead(validation).lead
        results = _compare([summary.text for summary in written], lead, examples)
        Console().print(_table(f"{file or f'{split} split'}: {len(examples):,} documents", results))
        typer.echo(f"ROUGE F1 x 100 [95 % interval]; lead: {lead}; difference: model - lead, paired")
        typer.echo(f"{cut:,} of {len(written):,} summaries stopped at {max_new_tokens} tokens")
        if stream is not None:
            record = {
                "model": str(model),
                "data": str(file) if file else {"corpus": corpus, "split": split},
                "documents": len(examples),
                "decoding": decoding,
                "stopped_at_limit": cut,
                "lead": str(lead),
                "rouge": {name: _figures(scores) for name, scores in results.items()},
                "simmim": __version__,
            }
            stream.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _load_examples(model: Path, corpus: str | None, file: Path | None, split: str) -> tuple[Dataset, Dataset]:
    """Load what to measure on and what to choose the baseline on."""
    from simmim.data.corpora import load_corpus, load_examples
    from simmim.train.run_config import load_recipe

    if file is not None:
        examples = load_examples(file)
        return examples, examples
    if corpus is not None:
        splits = load_corpus(corpus)
        return splits[split], splits["validation"]
    if not (model / "recipe.yaml").is_file():
        raise ConfigError(
            f"--corpus, --file: expected one of them, as {model} holds no recipe.yaml that names the data"
        )
    data = load_recipe(model / "recipe.yaml").data
    if data.corpus is not None:
        return _load_examples(model, data.corpus, None, split)
    chosen = getattr(data, split)
    if chosen is None:
        raise ConfigError(f"--split {split}: the recipe of {model} names no file for it; pass --file")
    assert data.validation is not None
    return load_examples(chosen), load_examples(data.validation)


def _predict(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: list[str], decoding: dict[str, int]
) -> list[Summary]:
    """Summarise documents behind a bar, and put the summaries into their order."""
    from simmim.cli.generation import summaries

    console = Console(stderr=True)
    written = dict(
        track(
            summaries(model, tokenizer, documents, **decoding),
            "summarising",
            total=len(documents),
            console=console,
            disable=not console.is_terminal,
        )
    )
    return [written[place] for place in range(len(documents))]


def _compare(predictions: list[str], lead: Callable[[str], str], examples: Dataset) -> dict[str, Rouge]:
    """Score the model, the lead and their difference on the same documents."""
    from simmim.tasks.summarisation import paired_difference, rouge

    references = list(examples["summary"])
    # documents of a group are alike: the intervals must know
    groups = list(examples["group"]) if "group" in examples.column_names else None
    scores = rouge(predictions, references, groups=groups)
    baseline = rouge([lead(document) for document in examples["document"]], references, groups=groups)
    return {"model": scores, "lead": baseline, "difference": paired_difference(scores, baseline, groups=groups)}


def _table(title: str, results: dict[str, Rouge]) -> Table:
    # plain enough for three intervals in 80 columns
    table = Table("", *results, title=Text(title), box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for metric, name in _SHOWN.items():
        table.add_row(name, *(str(getattr(scores, metric)) for scores in results.values()))
    return table


def _figures(scores: Rouge) -> dict[str, dict[str, float]]:
    """Return mean, low and high of each metric."""
    return {
        metric: {key: round(value, 3) for key, value in asdict(getattr(scores, metric)).items()} for metric in _SHOWN
    }
