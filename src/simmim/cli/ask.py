"""The command `simmim ask`: answer questions about documents, with the passages that were read for each answer."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from simmim.cli.cards import printable
from simmim.cli.inputs import STANDARD_INPUT
from simmim.cli.messages import complain, say
from simmim.cli.read import check_dtype, read_into, say_calibrating, torch_dtype
from simmim.errors import ConfigError, DataError, SimMIMError
from simmim.terminal import SafeConsole, terminal_safe

if TYPE_CHECKING:
    from simmim.reading.answering import Answer, Passage
    from simmim.tasks.reading import Library

__all__ = ["ask", "excerpt", "open_document", "show_passages"]

_SHOWN = 280  # characters of a passage in the terminal


def ask(
    document: Annotated[
        str, typer.Argument(metavar="DOCUMENT", help="What simmim read wrote, or a file, which is read first.")
    ],
    questions: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUESTION...", help="What to ask; none reads a question a line from standard input."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Folder, GGUF file or hub name of a causal model.", show_default="the one that read it"),
    ] = None,
    passages: Annotated[int, typer.Option(min=1, help="Segments that are read for an answer, with neighbours.")] = 3,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    device: Annotated[str | None, typer.Option(help="Where to compute.", show_default="accelerator, else cpu")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16.", show_default="the device's fastest")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each answer.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the answers alone, without passages.")] = False,
) -> None:
    """Answer questions about documents of any length, and show the passages that were read for each answer."""
    check_dtype(dtype)
    if document == STANDARD_INPUT and not questions:
        raise ConfigError("QUESTION: expected a question after -, standard input is the document")
    asked = questions or _piped_questions()
    if not asked:
        raise ConfigError("QUESTION: expected a question, got none; write it after the document, or into a pipe")
    failed = 0
    with ExitStack() as stack:
        library = open_document(document, model, device, torch_dtype(dtype), stack, quiet=quiet)
        for question in asked:
            try:
                _answer(library, question, passages, max_new_tokens, as_json, quiet, many=len(asked) > 1)
            except SimMIMError as error:
                complain(error)
                failed += 1
    if failed:
        raise typer.Exit(1)


def _piped_questions() -> list[str]:
    """Return the lines of standard input.

    Raises:
        DataError: they are no UTF-8.
    """
    try:
        lines = sys.stdin.buffer.read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"standard input: expected questions in UTF-8: {error}; convert them") from error
    return [line.strip() for line in lines if line.strip()]


def open_document(
    document: str, model: str | None, device: str | None, dtype: Any, stack: ExitStack, *, quiet: bool
) -> Library:
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
        raise DataError(f"{document}: expected a document, or the folder that simmim read wrote, there is none")
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
    if not quiet:
        say(f"{document}: reading it first; simmim read {document} -o {path.stem}.simmim keeps what was read")
    for failure in read_into(folder, reader, [document], None, quiet=quiet):
        complain(failure)
        raise typer.Exit(1)
    return open_library(folder, reader)


def _answer(
    library: Library, question: str, passages: int, max_new_tokens: int, as_json: bool, quiet: bool, many: bool
) -> None:
    from simmim.reading.answering import answer
    from simmim.tasks.streaming import TextStream

    out = Console(highlight=False)
    live = out.is_terminal and not as_json
    if many and not as_json:
        out.print(Text(printable(question), "bold"))

    def show(piece: str) -> None:
        out.out(terminal_safe(piece), end="", highlight=False)

    stream = TextStream(library.reader.tokenizer, show) if live else None
    found = answer(
        library.reader,
        library.opened,
        library.finder,
        [{"role": "user", "content": question}],
        passages=passages,
        streamer=stream,
        max_new_tokens=max_new_tokens,
        do_sample=False,
    )
    if as_json:
        from simmim.cli.results import json_line

        typer.echo(json_line({"question": question, **asdict(found)}), nl=False)
        return
    if live:
        out.print()
    else:
        typer.echo(found.text)
    if not quiet:
        show_passages(question, found, SafeConsole(stderr=not live, highlight=False))


def show_passages(question: str, found: Answer, console: Console) -> None:
    """Print what was read for an answer: where each passage stands and the part of it that is closest to the question.

    Args:
        question: what was asked.
        found: the answer.
        console: where to.
    """
    for passage in sorted(found.passages, key=lambda passage: -passage.weight):
        console.print(Text(f"  {where(passage)} ({passage.weight:.0%})", "dim bold"), soft_wrap=True)
        console.print(Padding(Text(excerpt(passage.text, question), "dim"), (0, 0, 0, 4), expand=False))
    first, total = found.first_token_seconds, found.seconds
    console.print(
        Text(f"  read {found.read_tokens:,} tokens; first word after {first:.1f} s, all in {total:.1f} s", "dim")
    )
    console.print()


def excerpt(text: str, question: str, length: int = _SHOWN) -> str:
    """Return the part of a passage that shares most words with a question, on one line.

    It begins with a sentence where it can; words of up to three letters do not count, and of others the first five
    letters do, so that "invoiced" finds "invoices".

    Args:
        text: of the passage.
        question: what was asked.
        length: characters of the part.
    """
    from simmim.reading.lexical import words
    from simmim.reading.sentences import sentences

    asked = {word[:5] for word in words(question) if len(word) > 3 or not word.isascii()}
    spans = list(sentences(text)) or [(0, len(text))]
    shared = [len(asked & {word[:5] for word in words(text[begin:end])}) for begin, end in spans]
    best = max(range(len(spans)), key=lambda number: (shared[number], -abs(2 * number - len(spans) + 1)))
    begin = spans[best][0]
    missing = length - (len(text) - begin)
    if missing > 0:  # the best sentence is one of the last: show those before it, too
        earlier = [start for start, _ in spans[:best] if len(text) - start <= length]
        begin = min(earlier, default=begin)
    shown = printable(text[begin : begin + 2 * length])
    cut = len(shown) > length or begin + 2 * length < len(text)
    lead = "… " if begin > 0 else ""
    return lead + (shown[:length].rsplit(" ", 1)[0] + " …" if cut else shown)


def where(passage: Passage) -> str:
    """Return the place of a passage as a person looks for it."""
    page = "" if passage.page is None else f", page {passage.page}"
    return f"{passage.document}{page}, line {passage.line}"
