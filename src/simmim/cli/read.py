"""The command `simmim read`: read documents once, into a folder from which questions are answered."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from simmim.cli.batches import Document, read_documents
from simmim.cli.documents import Extracted
from simmim.cli.encodings import check_encoding
from simmim.cli.inputs import find_documents
from simmim.cli.messages import complain, say
from simmim.errors import ConfigError, DataError
from simmim.terminal import SafeConsole

if TYPE_CHECKING:
    from simmim.reading.reader import Reader

__all__ = ["DTYPES", "check_dtype", "read", "read_into", "say_calibrating", "torch_dtype"]

DTYPES = ("float32", "bfloat16", "float16")


def read(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Files, folders, quoted patterns ('docs/**/*.md'); - is standard input."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write; one that is there gets the documents added.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Folder, GGUF file or hub name of a causal model.", show_default="SmolLM2-135M-Instruct"),
    ] = None,
    keep: Annotated[
        Literal["keys", "text"],
        typer.Option(help="keys: keep the keys and values of all tokens; text: read chosen passages again."),
    ] = "text",
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Encoding of the texts.", show_default="UTF-8")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where to compute.", show_default="accelerator, else cpu")] = None,
    dtype: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(DTYPES)}.", show_default="the device's fastest")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Read documents of any length once; ask about them with simmim ask.

    A reading that was interrupted goes on where it stopped: run the same command again. A document that cannot be read
    does not stop the others: it is named at the end, and the exit code is 1.
    """
    if encoding is not None:
        check_encoding(encoding)
    check_dtype(dtype)
    found = find_documents(inputs, leave_out=output)
    for note in found.notes:
        say(f"note: {note}")
    failures = [str(error) for error in found.errors]
    if found.names:
        from simmim.cli.checkpoints import find_model
        from simmim.reading.reader import ReadingSettings
        from simmim.tasks.reading import load_reader

        find_model(model)
        reader = load_reader(
            model, ReadingSettings(keep=keep), device=device, dtype=torch_dtype(dtype), calibrating=say_calibrating
        )
        failures += read_into(output, reader, found.names, encoding, as_json=as_json, quiet=quiet)
        if not quiet and not as_json and (output / "manifest.json").exists():
            say(_summary(output, reader))
    for failure in failures:
        complain(failure)
    if failures:
        raise typer.Exit(1)


def read_into(
    folder: Path, reader: Reader, names: list[str], encoding: str | None, *, as_json: bool = False, quiet: bool = False
) -> list[str]:
    """Read documents into a folder; return what went wrong."""
    failures = []
    for document in read_documents(names, encoding, lambda *_: False):
        assert document is not None
        if isinstance(document.extracted, DataError):
            failures.append(str(document.extracted))
            continue
        try:
            _read_one(folder, reader, document, as_json, quiet)
        except DataError as error:
            failures.append(f"{document.name}: {error}")
    if (folder / "manifest.json").exists():
        reader.index_words(folder)
    return failures


def _read_one(folder: Path, reader: Reader, document: Document, as_json: bool, quiet: bool) -> None:
    assert isinstance(document.extracted, Extracted)
    began, steps = time.perf_counter(), 0
    with _progress(quiet) as progress:
        bar = progress.add_task(document.name, total=None, speed="")

        def advance(done: int, total: int) -> None:
            nonlocal steps
            steps += 1
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(bar, completed=done, total=total, speed=f"{speed:,.0f} tokens/s" if speed else "")

        pages = document.extracted.pages
        number = reader.read(folder, document.extracted.text, document.name, pages, advance, words=False)
    seconds = time.perf_counter() - began
    about = reader.open_manifest(folder).documents[number]
    segments = -(-about.tokens // reader.settings.segment)
    if as_json:
        from simmim.cli.results import json_line

        record: dict[str, Any] = {"name": document.name, "folder": str(folder), "tokens": about.tokens}
        record |= {"segments": segments, "seconds": round(seconds, 3), "folder_bytes": _size(folder)}
        typer.echo(json_line(record), nl=False)
    elif not quiet:
        note = f" ({document.extracted.note})" if document.extracted.note else ""
        took = f"read in {seconds:,.1f} s" if steps else "is in the folder already"
        say(f"{document.name}: {about.tokens:,} tokens, {took}{note}")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _summary(folder: Path, reader: Reader) -> str:
    documents = reader.open_manifest(folder).documents
    count = "1 document" if len(documents) == 1 else f"{len(documents):,} documents"
    tokens = sum(document.tokens for document in documents)
    return f'{folder}: {count}, {tokens:,} tokens, {decimal(_size(folder))}; ask with: simmim ask {folder} "..."'


def _progress(quiet: bool) -> Progress:
    console = SafeConsole(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)


def say_calibrating() -> None:
    """Say why the first use of a model takes longer."""
    say("looking for the retrieval heads of this model, once")


def check_dtype(dtype: str | None) -> None:
    """Refuse an unknown dtype.

    Raises:
        ConfigError: it is not one of `DTYPES`.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"--dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")


def torch_dtype(dtype: str | None) -> Any:
    """Return the dtype of a name; None for None."""
    import torch

    return None if dtype is None else getattr(torch, dtype)
