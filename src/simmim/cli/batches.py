"""Summarizes many documents, those of like length together, and prints or writes each batch when it is done."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.cli.checkpoints import load_model, model_folder
from simmim.cli.document_worker import Document, read_documents
from simmim.cli.documents import Extracted
from simmim.cli.notices import say
from simmim.cli.options import dtype_of
from simmim.cli.progress import bar
from simmim.cli.results import ResultsFile, json_line, open_results
from simmim.console import SafeConsole
from simmim.errors import DataError
from simmim.models import pretrained_path
from simmim.tasks.checkpoints import find_device, fingerprint
from simmim.tasks.process_memory import peak_memory
from simmim.tasks.summarization.faithfulness import Source, Unsupported, supported_sentences
from simmim.tasks.summarization.generation import Summary, summarize_batches
from simmim.terminal import printable

__all__ = ["Job", "Outcome", "run", "summarize_documents"]

_DOCUMENTS = 256  # in memory at once, or as many as have
_CHARACTERS = 2**23  # characters together
_BEGINNING = 240  # characters of a text that are shown beside its summary
_BATCH = 32  # documents of a batch at most


@dataclass(frozen=True)
class Outcome:
    """Holds a document, and its summary or the error that came instead.

    Attributes:
        document: the document.
        summary: its summary, or the error.
        unsupported: what the summary says and the document does not.
        dropped: whether sentences that say such things were left out.
    """

    document: Document
    summary: Summary | DataError
    unsupported: Sequence[Unsupported] = ()
    dropped: bool = False


@dataclass(frozen=True)
class Job:
    """Says how documents are read and summarized.

    Attributes:
        model: a folder or the name of a model on the hub; None for the model that comes with SimMIM.
        device: where to compute; None for the accelerator, or the CPU without one.
        dtype: of the weights; None for float32 on a CPU, else as saved.
        encoding: of the texts.
        settings: for `generate` of transformers.
        strict: leave out sentences with a name, number, quotation or negation that the document does not have.
    """

    model: str | None
    device: str | None
    dtype: str | None
    encoding: str | None
    settings: dict[str, Any]
    strict: bool = False


def run(job: Job, names: list[str], output: Path | None, overwrite: bool, as_json: bool) -> list[str]:
    """Summarize documents; print the summaries, or write them to a file or folder.

    Returns:
        What went wrong, a line for each document.
    """
    folder = pretrained_path() if job.model is None else model_folder(job.model)

    @functools.cache
    def load() -> Any:
        return load_model(folder, device=job.device, dtype=dtype_of(job.dtype))

    limit = job.settings["max_new_tokens"]
    with _open(job, folder, names, output, overwrite) or nullcontext() as results:
        is_done = results.holds if results is not None else lambda *_: False
        documents = read_documents(names, job.encoding, is_done)
        outcomes = summarize_documents(documents, load, job.settings, job.strict)
        return _print(outcomes, as_json, limit) if results is None else _write(outcomes, results, names, limit)


def _open(job: Job, folder: Path, names: list[str], output: Path | None, overwrite: bool) -> ResultsFile | None:
    if output is None:
        return None
    device = find_device(job.device).type
    dtype = job.dtype or ("float32" if device == "cpu" else "as saved")
    settings = {"model": fingerprint(folder), "encoding": job.encoding or "utf-8", "device": device, "dtype": dtype}
    settings |= job.settings | ({"strict": True} if job.strict else {})
    return open_results(output, settings, overwrite, names)


def summarize_documents(
    documents: Iterator[Document | None],
    load: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]],
    settings: dict[str, Any],
    strict: bool = False,
) -> Iterator[list[Outcome | None]]:
    """Summarize documents.

    Yields:
        The outcomes of each batch; None for documents that were done before.
    """
    window: list[Document] = []
    characters = 0
    for document in documents:
        if document is None:
            yield [None]
        elif isinstance(document.extracted, DataError):
            yield [Outcome(document, document.extracted)]
        else:
            window.append(document)
            characters += len(document.extracted.text)
        if len(window) == _DOCUMENTS or characters > _CHARACTERS:
            yield from _summarize_window(window, load(), settings, strict)
            window, characters = [], 0
    if window:
        yield from _summarize_window(window, load(), settings, strict)


def _summarize_window(
    window: list[Document],
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    settings: dict[str, Any],
    strict: bool,
) -> Iterator[list[Outcome | None]]:
    texts = [document.extracted.text for document in window if isinstance(document.extracted, Extracted)]
    limit = loaded[1].model_max_length
    for batch in summarize_batches(*loaded, texts, batch_size=_BATCH, limit=limit, **settings):
        yield [_outcome(window[index], summary, strict) for index, summary in batch]


def _outcome(document: Document, summary: Summary | DataError, strict: bool) -> Outcome:
    if isinstance(summary, DataError):
        return Outcome(document, DataError(f"{document.name}: {summary}"))
    assert isinstance(document.extracted, Extracted)
    source = Source(document.extracted.text)
    unsupported = source.unsupported(summary.text)
    if not strict or not unsupported:
        return Outcome(document, summary, unsupported)
    kept = supported_sentences(summary.text, unsupported)
    return Outcome(document, replace(summary, text=kept), source.unsupported(kept), dropped=True)


def _print(outcomes: Iterator[list[Outcome | None]], as_json: bool, limit: int) -> list[str]:
    """Print summaries in the order of the documents."""
    failures: list[str] = []
    for outcome in _in_order(outcomes):
        document, summary = outcome.document, outcome.summary
        if isinstance(summary, DataError):
            failures.append(str(summary))
        elif as_json:
            memory = peak_memory()
            record = _record(outcome) | {"peak_memory_mib": None if memory is None else round(memory, 1)}
            del record["sha256"]
            typer.echo(json_line(record), nl=False)
        else:
            assert isinstance(document.extracted, Extracted)
            notes = [document.extracted.note] if document.extracted.note else []
            if not summary.complete:
                notes.append(f"stopped at {limit} tokens; --max-new-tokens allows more")
            notes += _doubts(outcome)
            source, tokens, seconds = document.extracted.text, summary.source_tokens, summary.seconds
            _show_card(document.name, source, _marked(outcome), notes, source_tokens=tokens, seconds=seconds)
    return failures


def _marked(outcome: Outcome) -> Text:
    """Return a summary in which what its document does not say stands out."""
    assert isinstance(outcome.summary, Summary)
    if not outcome.summary.text:
        return Text("(nothing is left)" if outcome.dropped else "(the model wrote nothing)", style="green")
    shown = Text(printable(outcome.summary.text), style="green")
    if shown.plain == outcome.summary.text:  # else its positions are others; the note names them anyway
        for one in outcome.unsupported:
            shown.stylize("red underline", one.begin, one.end)
    return shown


def _doubts(outcome: Outcome) -> list[str]:
    assert isinstance(outcome.summary, Summary)
    text = outcome.summary.text
    listed = ", ".join(f"{text[one.begin : one.end]} ({one.kind})" for one in outcome.unsupported)
    notes = ["sentences with what the document does not say were left out"] if outcome.dropped else []
    return [*notes, f"not in the document: {printable(listed)}"] if listed else notes


def _in_order(outcomes: Iterator[list[Outcome | None]]) -> Iterator[Outcome]:
    waiting: dict[int, Outcome] = {}
    next_index = 0
    for batch in outcomes:
        waiting.update({outcome.document.index: outcome for outcome in batch if outcome is not None})
        while next_index in waiting:
            yield waiting.pop(next_index)
            next_index += 1


def _write(outcomes: Iterator[list[Outcome | None]], results: ResultsFile, names: list[str], limit: int) -> list[str]:
    """Write summaries and errors to a file as they are done, behind a bar."""
    cut = written = before = 0
    with bar() as progress:
        task = progress.add_task("summarizing", total=len(names))
        for batch in outcomes:
            records = [_record(outcome) for outcome in batch if outcome is not None]
            results.add(records)
            written += sum("summary" in record for record in records)
            cut += sum(not record.get("complete", True) for record in records)
            before += sum(outcome is None for outcome in batch)
            progress.advance(task, len(batch))
    errors = [error for name in names if (error := results.error(name)) is not None]
    known = f"; documents done before: {before:,}" if before else ""
    say(f"{results.path}: summaries written: {written:,}{known}")
    if cut:
        say(f'{cut:,} stopped at {limit} tokens ("complete": false); --max-new-tokens allows more')
    return errors


def _record(outcome: Outcome) -> dict[str, Any]:
    """Return what is written about a document."""
    document, summary = outcome.document, outcome.summary
    record: dict[str, Any] = {"name": document.name, "sha256": document.sha256}
    if isinstance(summary, DataError):
        return record | {"error": str(summary)}
    record |= {"summary": summary.text, "complete": summary.complete, "source_tokens": summary.source_tokens}
    record["seconds"] = round(summary.seconds, 3)
    record["unsupported"] = [{**asdict(one), "text": summary.text[one.begin : one.end]} for one in outcome.unsupported]
    if isinstance(document.extracted, Extracted) and document.extracted.note:
        record["note"] = document.extracted.note
    return record


def _show_card(name: str, text: str, summary: Text, notes: list[str], *, source_tokens: int, seconds: float) -> None:
    """Print a document's summary."""
    beginning = printable(text[: 8 * _BEGINNING])
    if len(beginning) > _BEGINNING or len(text) > 8 * _BEGINNING:
        beginning = beginning[:_BEGINNING] + "…"
    card = Table.grid(padding=(0, 2))
    card.add_row("text", Text(beginning))
    card.add_row("summary", summary)
    for note in notes:
        card.add_row("note", Text(note))
    memory = peak_memory()
    figures = f"{source_tokens:,} tokens in, {seconds:.2f} s"
    card.add_row("cost", figures if memory is None else f"{figures}, peak memory {memory:,.0f} MiB")
    console = SafeConsole(highlight=False)
    console.print(Text(printable(name), style="bold"))
    console.print(Padding(card, (0, 0, 1, 2)))
