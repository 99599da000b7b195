"""The command `simmim evaluate`: score a model beside baselines and other models on the same documents."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from simmim.cli.options import AsJson, Device, Dtype, OldModel, Quiet, Verbose, dtype_of
from simmim.errors import ConfigError

if TYPE_CHECKING:
    from simmim.cli.evaluation_data import EvaluationData
    from simmim.cli.systems import Decoding, System
    from simmim.tasks.summarization.comparison import Comparison

__all__ = ["evaluate"]


def evaluate(
    command: typer.Context,
    old_model: OldModel = None,
    name: Annotated[
        str | None, typer.Option("--model", help="Folder or hub name of a model, or a causal one's GGUF file.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="A corpus by name.", show_default="what the model's recipe names")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Instead: JSON lines, for instance, with document and summary, text, or messages."),
    ] = None,
    document: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="With --file: its documents.", show_default="the recipe's")
    ] = None,
    summary: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="With --file: its summaries.", show_default="the recipe's")
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="With --file: its texts.", show_default="the recipe's")
    ] = None,
    messages: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="With --file: its conversations.", show_default="the recipe's")
    ] = None,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Which split of the corpus.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many documents, drawn at random.")] = None,
    without_near_duplicates: Annotated[
        bool, typer.Option("--without-near-duplicates", help="Leave out rows marked near_duplicate, and count them.")
    ] = False,
    beside: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Another saved model to compare with; again for more.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Summaries: documents at a time.")] = 16,
    num_beams: Annotated[int, typer.Option(min=1, help="Summaries: width of the beam search; 1 is greedy.")] = 4,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Summaries: the longest, in tokens.")] = 64,
    context: Annotated[
        list[int] | None,
        typer.Option(
            min=1, metavar="N", help="Language: measure also with the context forgotten every N tokens; again for more."
        ),
    ] = None,
    direction: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FROM-TO", help="Translation: such as en-fr; again for more.", show_default="the recipe's"
        ),
    ] = None,
    group: Annotated[int, typer.Option(min=1, help="Translation: blocks that are read together.")] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Also write the result here, as JSON.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of --limit.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a model that writes summaries, or one that models language, with 95 % intervals.

    Summaries: ROUGE, beside the beginning of the document (lead) and its most central sentences (TextRank). These
    baselines are chosen on the validation split; with --file on that very file, which favours them.

    Language: bits per byte of whole documents, the context carried from beginning to end, over all and by position. Of
    conversations the replies are measured: in a corpus those of every speaker, in a file the assistant's.

    Translation, with --direction or a model of that task: chrF, BLEU, and what is kept of marks, numbers and terms,
    beside the translation of the nearest block that the model learnt from.
    """
    name = name or old_model
    if name is None:
        raise ConfigError("--model: expected a model to measure, got none")
    # these take seconds to import
    from simmim.cli.checkpoints import model_folder
    from simmim.cli.evaluation_data import load_evaluation_data, translates
    from simmim.tasks.checkpoints import reads_source

    model, others = model_folder(name), [model_folder(one) for one in beside or []]
    if direction or translates(model):
        from simmim.cli.translation_evaluation import evaluate_translation

        refused = ("corpus", "document", "summary", "text", "messages", "without_near_duplicates", "beside", "context")
        _refuse(command, *refused, "max_new_tokens", why="the model translates")
        with _output(output) as stream:
            evaluate_translation(
                model,
                file,
                split,
                direction,
                limit=limit,
                num_beams=num_beams,
                batch_size=batch_size,
                group=group,
                stream=stream,
                as_json=as_json,
            )
        return
    _refuse(command, "group", why="the model does not translate")
    loading = {"device": device, "dtype": dtype_of(dtype)}
    columns = {"document": document, "summary": summary, "text": text, "messages": messages}
    if not reads_source(model):
        from simmim.cli.language_evaluation import evaluate_language

        writes = ("num_beams", "max_new_tokens", "batch_size", "document", "summary")
        _refuse(command, *writes, why="the model writes no summaries")
        with _output(output) as stream:
            data = load_evaluation_data(model, corpus, file, split, language=True, columns=columns)
            data = data.narrowed(without_near_duplicates=without_near_duplicates, limit=limit, seed=seed)
            evaluate_language(model, others, data, context or [], stream, as_json, loading)
        return
    _refuse(command, "context", "text", "messages", why="the model writes summaries, and reads documents in full")
    decoding: Decoding = {"num_beams": num_beams, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    # what cannot be written is refused before any work is done for it
    with _output(output) as stream:
        data = load_evaluation_data(model, corpus, file, split, columns=columns)
        data = data.narrowed(without_near_duplicates=without_near_duplicates, limit=limit, seed=seed)
        systems = _run(model, others, data, decoding, loading)
        _finish(systems, data, decoding, stream, as_json)


def _finish(
    systems: dict[str, System],
    data: EvaluationData,
    decoding: Decoding,
    stream: TextIO | None,
    as_json: bool,
) -> None:
    """Compare the systems, and show and write what was found."""
    from simmim.cli.tables import print_tables, show_record
    from simmim.tasks.summarization.comparison import Examples, choose_examples, compare

    rows = data.examples
    # documents of a group are alike: the intervals must know
    groups = list(rows["group"]) if "group" in rows.column_names else None
    tokens = systems["model"].tokens
    assert tokens is not None
    examples = Examples(list(rows["document"]), list(rows["summary"]), tokens, groups)
    texts = {name: system.texts for name, system in systems.items()}
    comparison = compare(texts, examples)
    record = _record(systems, data, decoding, comparison)
    record["examples"] = [asdict(one) for one in choose_examples(texts, comparison.scores, examples)]
    show_record(record, print_tables, stream, as_json)


def _run(
    model: Path, beside: list[Path], data: EvaluationData, decoding: Decoding, loading: dict[str, Any]
) -> dict[str, System]:
    """Let models and baselines summarize the documents; the model comes first."""
    from simmim.cli.systems import name_of, run_baseline, run_model
    from simmim.tasks.summarization.extractive import best_textrank
    from simmim.tasks.summarization.lead import best_lead

    documents = list(data.examples["document"])
    systems = {"model": run_model(model, documents, decoding, **loading)}
    systems["lead"] = run_baseline(best_lead(data.validation), documents)
    systems["textrank"] = run_baseline(best_textrank(data.validation), documents)
    for folder in beside:
        systems[name_of(folder, {*systems, "reference"})] = run_model(folder, documents, decoding, **loading)
    return systems


def _record(
    systems: dict[str, System], data: EvaluationData, decoding: Decoding, comparison: Comparison
) -> dict[str, Any]:
    """Gather everything that was found, and what it depends on."""
    from simmim.cli.provenance import provenance

    return {
        "model": systems["model"].about,
        "data": data.origin,
        "documents": len(data.examples),
        "systems": {name: system.facts() for name, system in systems.items()},
        **comparison.to_dict(),
        "grouped": comparison.groups is not None,
        "chosen_on_same": data.origin.get("split", "validation") == "validation",
        "decoding": decoding,
        "made": provenance("rouge-score", "networkx", "nltk"),
    }


def _refuse(command: typer.Context, *options: str, why: str) -> None:
    """Refuse options that were given and mean nothing for a model."""
    for option in options:
        source = command.get_parameter_source(option)
        if source is not None and source.name != "DEFAULT":
            raise ConfigError(f"--{option.replace('_', '-')}: {why}; leave it out")


def _output(path: Path | None) -> AbstractContextManager[TextIO | None]:
    """Open a file that replaces the one at the path at the end; None opens none."""
    from simmim.atomic import replaced_file

    return nullcontext() if path is None else replaced_file(path)
