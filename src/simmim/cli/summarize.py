"""The command `simmim summarize`: read documents whole and write a summary of each."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simmim.cli.batches import Outcome, read_documents, summarize_documents
from simmim.cli.cards import show_card
from simmim.cli.documents import Extracted
from simmim.cli.encodings import check_encoding
from simmim.cli.inputs import find_documents
from simmim.cli.memory import peak_memory
from simmim.cli.messages import complain, say
from simmim.cli.options import Device, Dtype, dtype_of
from simmim.errors import ConfigError, DataError
from simmim.terminal import SafeConsole

if TYPE_CHECKING:
    from simmim.cli.results import ResultsFile

__all__ = ["summarize"]


def summarize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Files, folders, quoted patterns ('docs/**/*.md'); - is standard input."
        ),
    ],
    model: Annotated[
        Path | None, typer.Option(help="Folder of a saved model.", show_default="the model that comes with SimMIM")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write here: FILE.jsonl, or a folder for texts. Run again to go on.",
            show_default="print",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin --output again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line instead.")] = False,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Encoding of the texts.", show_default="UTF-8")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest summary, in tokens.")] = 64,
    min_new_tokens: Annotated[int, typer.Option(min=0, help="Shortest summary, in tokens.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    num_beams: Annotated[int, typer.Option(min=1, help="Width of the beam search; 1 is greedy.")] = 4,
    length_penalty: Annotated[
        float, typer.Option(help="Above 1 the search prefers longer summaries, below shorter ones.")
    ] = 1.0,
    no_repeat_ngram_size: Annotated[
        int | None,
        typer.Option(min=0, help="No sequence of so many tokens twice; 0 allows it.", show_default="the model's own"),
    ] = None,
) -> None:
    """Summarise documents of any length: text, Markdown, HTML, PDF, Word and others; none is ever cut.

    A document that cannot be read does not stop the others: it is named at the end, and the exit code is 1.
    """
    settings = {
        **{"do_sample": False, "num_beams": num_beams, "max_new_tokens": max_new_tokens},
        **{"min_new_tokens": min_new_tokens, "length_penalty": length_penalty},
    }
    if no_repeat_ngram_size is not None:
        settings["no_repeat_ngram_size"] = no_repeat_ngram_size
    _check(settings, encoding, output, overwrite, as_json)
    found = find_documents(inputs, leave_out=output)
    for note in found.notes:
        say(f"note: {note}")
    failures = [str(error) for error in found.errors]
    if found.names:
        failures += _run(found.names, model, output, overwrite, as_json, encoding, settings, device, dtype)
    for failure in failures:
        complain(failure)
    if failures:
        total = len(found.names) + len(found.errors)
        if total > 1:
            say(f"{len(failures):,} of {total:,} inputs failed")
        raise typer.Exit(1)


def _check(settings: dict[str, Any], encoding: str | None, output: Path | None, overwrite: bool, as_json: bool) -> None:
    """Refuse options that do not go together."""
    shortest, longest = settings["min_new_tokens"], settings["max_new_tokens"]
    if shortest > longest:
        raise ConfigError(f"--min-new-tokens: expected at most --max-new-tokens ({longest}), got {shortest}")
    if settings["length_penalty"] != 1 and settings["num_beams"] == 1:
        raise ConfigError(
            "--length-penalty: expected --num-beams 2 or more with it; a greedy search has no choice of length"
        )
    if encoding is not None:
        check_encoding(encoding)
    if overwrite and output is None:
        raise ConfigError("--overwrite: expected --output with it, which says what to begin again")
    if output is not None and as_json:
        raise ConfigError("--json, --output: expected one of them; the file of --output holds JSON lines")
    if output is not None and not _is_folder(output) and output.suffix != ".jsonl":
        raise ConfigError(
            f"--output: expected a file that ends in .jsonl, or a folder (that exists, or has no ending), got {output}"
        )


def _is_folder(output: Path) -> bool:
    return output.is_dir() or not (output.suffix or output.exists())


def _run(
    names: list[str],
    folder: Path | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    encoding: str | None,
    settings: dict[str, Any],
    device: str | None,
    dtype: str | None,
) -> list[str]:
    """Summarise documents; return what went wrong."""
    # torch and transformers take seconds to import: not before there is something to do
    from simmim.models import pretrained_path

    folder = folder or pretrained_path()

    @functools.cache
    def load() -> Any:
        from simmim.cli.checkpoints import load_model

        return load_model(folder, device=device, dtype=dtype_of(dtype))

    with _open(names, folder, output, overwrite, encoding, settings) or nullcontext() as results:
        is_done = results.holds if results is not None else lambda *_: False
        documents = read_documents(names, encoding, is_done)
        outcomes = summarize_documents(documents, load, settings)
        if results is None:
            return _print(outcomes, as_json, settings["max_new_tokens"])
        return _write(outcomes, results, names, settings["max_new_tokens"])


def _open(
    names: list[str],
    folder: Path,
    output: Path | None,
    overwrite: bool,
    encoding: str | None,
    settings: dict[str, Any],
) -> ResultsFile | None:
    if output is None:
        return None
    from simmim.cli.results import ResultsFile, ResultsFolder
    from simmim.tasks.checkpoints import fingerprint

    told = {"model": fingerprint(folder), "encoding": encoding or "utf-8", **settings}
    if _is_folder(output):
        return ResultsFolder(output, told, overwrite, names)
    return ResultsFile(output, told, overwrite)


def _print(outcomes: Iterator[list[Outcome | None]], as_json: bool, limit: int) -> list[str]:
    """Print summaries in the order of the documents."""
    failures: list[str] = []
    for outcome in _in_order(outcomes):
        document, summary = outcome.document, outcome.summary
        if isinstance(summary, DataError):
            failures.append(str(summary))
        elif as_json:
            from simmim.cli.results import json_line

            memory = peak_memory()
            record = _record(outcome) | {"peak_memory_mib": None if memory is None else round(memory, 1)}
            del record["sha256"]
            typer.echo(json_line(record), nl=False)
        else:
            assert isinstance(document.extracted, Extracted)
            notes = [document.extracted.note] if document.extracted.note else []
            if not summary.complete:
                notes.append(f"stopped at {limit} tokens; --max-new-tokens allows more")
            source, tokens, seconds = document.extracted.text, summary.source_tokens, summary.seconds
            show_card(document.name, source, summary.text, notes, source_tokens=tokens, seconds=seconds)
    return failures


def _in_order(outcomes: Iterator[list[Outcome | None]]) -> Iterator[Outcome]:
    waiting: dict[int, Outcome] = {}
    next_place = 0
    for batch in outcomes:
        waiting.update({outcome.document.place: outcome for outcome in batch if outcome is not None})
        while next_place in waiting:
            yield waiting.pop(next_place)
            next_place += 1


def _write(outcomes: Iterator[list[Outcome | None]], results: ResultsFile, names: list[str], limit: int) -> list[str]:
    """Write summaries and errors to a file as they are done, behind a bar."""
    cut = written = before = 0
    with _progress() as progress:
        bar = progress.add_task("summarising", total=len(names))
        for batch in outcomes:
            records = [_record(outcome) for outcome in batch if outcome is not None]
            results.add(records)
            written += sum("summary" in record for record in records)
            cut += sum(not record.get("complete", True) for record in records)
            before += sum(outcome is None for outcome in batch)
            progress.advance(bar, len(batch))
    errors = [error for name in names if (error := results.error(name)) is not None]
    known = f"; documents done before: {before:,}" if before else ""
    say(f"{results.path}: summaries written: {written:,}{known}")
    if cut:
        say(f'{cut:,} stopped at {limit} tokens ("complete": false); --max-new-tokens allows more')
    return errors


def _progress() -> Progress:
    console = SafeConsole(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _record(outcome: Outcome) -> dict[str, Any]:
    """Return what is written about a document."""
    document, summary = outcome.document, outcome.summary
    record: dict[str, Any] = {"name": document.name, "sha256": document.sha256}
    if isinstance(summary, DataError):
        return record | {"error": str(summary)}
    record |= {"summary": summary.text, "complete": summary.complete, "source_tokens": summary.source_tokens}
    record["seconds"] = round(summary.seconds, 3)
    if isinstance(document.extracted, Extracted) and document.extracted.note:
        record["note"] = document.extracted.note
    return record
