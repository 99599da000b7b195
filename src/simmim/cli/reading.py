"""Reads documents into a folder for `simmim read`, and opens what was read for `simmim ask` and `simmim chat`."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.filesize import decimal
from rich.progress import TextColumn

from simmim.cli.document_worker import Document, read_documents
from simmim.cli.documents import Extracted
from simmim.cli.inputs import STANDARD_INPUT
from simmim.cli.notices import complain, say
from simmim.cli.progress import bar
from simmim.cli.results import json_line
from simmim.errors import DataError

if TYPE_CHECKING:
    from simmim.reading.reader import Reader
    from simmim.tasks.reading import Library

__all__ = ["open_document", "read_into", "say_calibrating", "summary_of"]


def read_into(
    folder: Path, reader: Reader, names: list[str], encoding: str | None = None, *, as_json: bool = False
) -> list[str]:
    """Read documents into a folder; return what went wrong."""
    failures = []
    for document in read_documents(names, encoding, lambda *_: False):
        assert document is not None
        if isinstance(document.extracted, DataError):
            failures.append(str(document.extracted))
            continue
        try:
            _read_one(folder, reader, document, as_json)
        except DataError as error:
            failures.append(f"{document.name}: {error}")
    if (folder / "manifest.json").exists():
        reader.index_words(folder)
    return failures


def _read_one(folder: Path, reader: Reader, document: Document, as_json: bool) -> None:
    assert isinstance(document.extracted, Extracted)
    began, steps = time.perf_counter(), 0
    with bar(TextColumn("{task.fields[speed]}"), transient=True) as progress:
        task = progress.add_task(document.name, total=None, speed="")

        def advance(done: int, total: int) -> None:
            nonlocal steps
            steps += 1
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(task, completed=done, total=total, speed=f"{speed:,.0f} tokens/s" if speed else "")

        found = document.extracted
        number = reader.read(
            folder, found.text, document.name, found.pages, advance, headings=found.headings, words=False
        )
    seconds = time.perf_counter() - began
    about = reader.open_manifest(folder).documents[number]
    segments = -(-about.tokens // reader.settings.segment)
    if as_json:
        record: dict[str, Any] = {"name": document.name, "folder": str(folder), "tokens": about.tokens}
        record |= {"segments": segments, "seconds": round(seconds, 3), "folder_bytes": _size(folder)}
        typer.echo(json_line(record), nl=False)
    else:
        note = f" ({document.extracted.note})" if document.extracted.note else ""
        took = f"read in {seconds:,.1f} s" if steps else "is in the folder already"
        say(f"{document.name}: {about.tokens:,} tokens, {took}{note}")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def summary_of(folder: Path, reader: Reader) -> str:
    """Return a line about a folder of documents that were read."""
    documents = reader.open_manifest(folder).documents
    count = "1 document" if len(documents) == 1 else f"{len(documents):,} documents"
    tokens = sum(document.tokens for document in documents)
    return f'{folder}: {count}, {tokens:,} tokens, {decimal(_size(folder))}; ask with: simmim ask {folder} "..."'


def say_calibrating() -> None:
    """Say why the first use of a model takes longer."""
    say("looking for the retrieval heads of this model, once")


def open_document(document: str, model: str | None, device: str | None, dtype: Any, stack: ExitStack) -> Library:
    """Open a folder that `simmim read` wrote, or read a file into a folder that is removed at the end.

    Raises:
        CheckpointError: the folder is damaged, or of another model.
        DataError: the file cannot be read.
    """
    path = Path(document)
    manifest = None
    if path.is_dir():
        from simmim.reading.manifest import read_manifest

        manifest = read_manifest(path)  # before torch is imported
    elif document != STANDARD_INPUT and not path.exists():
        raise DataError(f"{document}: expected a document or what simmim read wrote; this path does not exist")
    from simmim.cli.checkpoints import find_model
    from simmim.tasks.reading import load_reader, open_library, settings_of

    if manifest is not None:
        source, settings, encode = settings_of(path, manifest)
        find_model(model or source)
        reader = load_reader(
            model or source, settings, device=device, dtype=dtype, encode=encode, calibrating=say_calibrating
        )
        return open_library(path, reader, manifest)
    find_model(model)
    reader = load_reader(model, device=device, dtype=dtype, calibrating=say_calibrating)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simmim-", ignore_cleanup_errors=True)))
    say(f"{document}: reading it first; simmim read {document} -o {path.stem}.simmim keeps what was read")
    for failure in read_into(folder, reader, [document]):
        complain(failure)
        raise typer.Exit(1)
    return open_library(folder, reader)
