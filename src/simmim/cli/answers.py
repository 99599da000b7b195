"""Prints an answer about documents with the passages that were read for it."""

from __future__ import annotations

from dataclasses import asdict, replace

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from simmim.cli.results import json_line
from simmim.console import SafeConsole
from simmim.data.unicode import check_text
from simmim.reading.answering import Answer, Passage, passages_of
from simmim.reading.lexical import words
from simmim.reading.sentences import sentences
from simmim.tasks.reading import Library
from simmim.tasks.streaming import TextStream
from simmim.terminal import printable, terminal_safe

__all__ = ["excerpt", "print_answer", "print_passages", "show_passages"]

_SHOWN = 280  # characters of a passage in the terminal


def print_answer(
    library: Library, question: str, passages: int, max_new_tokens: int, as_json: bool, quiet: bool, many: bool
) -> None:
    """Answer a question and print the answer, as it is written in a terminal, and unless quiet its passages."""
    out = Console(highlight=False)
    live = out.is_terminal and not as_json
    if many and not as_json:
        out.print(Text(printable(question), "bold"))

    def show(piece: str) -> None:
        out.out(terminal_safe(piece), end="", highlight=False)

    stream = TextStream(library.reader.tokenizer, show) if live else None
    found = library.answer(
        [{"role": "user", "content": question}],
        passages=passages,
        streamer=stream,
        max_new_tokens=max_new_tokens,
        do_sample=False,
    )
    if as_json:
        typer.echo(json_line({"question": question, **asdict(found)}), nl=False)
        return
    if live:
        out.print()
    else:
        typer.echo(found.text)
    if not quiet:
        show_passages(question, found, SafeConsole(stderr=not live, highlight=False))


def print_passages(library: Library, query: str, count: int, as_json: bool, many: bool) -> None:
    """Print the passages that are found for a query, the best first."""
    check_text("query", query)
    found = library.finder.find(query, count)
    total = sum(one.score for one in found)
    passages = [
        replace(passages_of([one.segment], found, library.opened)[0], weight=round(one.score / total, 4))
        for one in found
    ]
    if as_json:
        typer.echo(json_line({"query": query, "passages": [asdict(one) for one in passages]}), nl=False)
        return
    out = SafeConsole(highlight=False)
    if many:
        out.print(Text(printable(query), "bold"))
    for passage in passages:
        out.print(Text(where(passage), "bold"), soft_wrap=True)
        out.print(Padding(Text(excerpt(passage.text, query)), (0, 0, 0, 2), expand=False))
    if many:
        out.print()


def show_passages(question: str, found: Answer, console: Console) -> None:
    """Print the passages of an answer: where each stands, and the part of it that is closest to the question."""
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
    """
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
    ellipsis = "… " if begin > 0 else ""
    return ellipsis + (shown[:length].rsplit(" ", 1)[0] + " …" if cut else shown)


def where(passage: Passage) -> str:
    """Return document, page and line of a passage."""
    page = "" if passage.page is None else f", page {passage.page}"
    return f"{passage.document}{page}, line {passage.line}"
