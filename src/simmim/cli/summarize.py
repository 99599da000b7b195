"""The command `simmim summarize`: read documents whole and summarize each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from simmim.cli.notices import complain, say
from simmim.cli.options import AsJson, Device, Dtype, Encoding, Quiet, Verbose
from simmim.errors import ConfigError

__all__ = ["summarize"]

_EXTRACTING = ("length", "levels")
_WRITING = (
    "model",
    "dtype",
    "max_new_tokens",
    "min_new_tokens",
    "num_beams",
    "length_penalty",
    "no_repeat_ngram_size",
    "strict",
)


def summarize(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Files, folders, quoted patterns ('docs/**/*.md'); - is standard input."
        ),
    ],
    length: Annotated[
        Literal["line", "paragraph", "page"], typer.Option(help="Of an extracted summary: 35, 120 or 400 words.")
    ] = "paragraph",
    levels: Annotated[bool, typer.Option("--levels", help="Show a line about every part of a document, too.")] = False,
    method: Annotated[
        Literal["extract", "write"] | None,
        typer.Option(
            help="Take the document's own sentences, or let a model write.", show_default="extract; write with --model"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub name of a model that writes summaries.",
            show_default="the model that comes with SimMIM",
        ),
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
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest written summary, in tokens.")] = 64,
    min_new_tokens: Annotated[int, typer.Option(min=0, help="Shortest summary, in tokens.")] = 0,
    num_beams: Annotated[int, typer.Option(min=1, help="Width of the beam search; 1 is greedy.")] = 4,
    length_penalty: Annotated[
        float, typer.Option(help="Above 1 the search prefers longer summaries, below shorter ones.")
    ] = 1.0,
    no_repeat_ngram_size: Annotated[
        int | None,
        typer.Option(min=0, help="No sequence of so many tokens twice; 0 allows it.", show_default="the model's own"),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Leave out written sentences that name what the document does not.")
    ] = False,
    encoding: Encoding = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Summarize documents of any length: text, Markdown, HTML, PDF, Word and others; none is ever cut.

    A summary consists of sentences of the document, so nothing in it is invented; or a model writes it (--model).
    A document that cannot be read does not stop the others: it is named at the end, and the exit code is 1.
    """
    writes = method == "write" or (method is None and model is not None)
    _check_method(context, writes)
    settings = {
        **{"do_sample": False, "num_beams": num_beams, "max_new_tokens": max_new_tokens},
        **{"min_new_tokens": min_new_tokens, "length_penalty": length_penalty},
    }
    if no_repeat_ngram_size is not None:
        settings["no_repeat_ngram_size"] = no_repeat_ngram_size
    _check(settings, encoding, output, overwrite, as_json)
    from simmim.cli.inputs import find_documents

    found = find_documents(inputs, leave_out=output)
    for note in found.notes:
        say(f"note: {note}")
    failures = [str(error) for error in found.errors]
    if found.names:
        # torch and transformers take seconds to import: not before there is something to do
        if writes:
            from simmim.cli.batches import Job as Writing
            from simmim.cli.batches import run as write

            failures += write(
                Writing(model, device, dtype, encoding, settings, strict), found.names, output, overwrite, as_json
            )
        else:
            from simmim.cli.extracts import Job, run

            failures += run(Job(length, levels, device, encoding), found.names, output, overwrite, as_json)
    for failure in failures:
        complain(failure)
    if failures:
        total = len(found.names) + len(found.errors)
        if total > 1:
            say(f"{len(failures):,} of {total:,} inputs failed")
        raise typer.Exit(1)


def _check_method(context: typer.Context, writes: bool) -> None:
    """Refuse options of the other method."""
    other, needed = (_EXTRACTING, "extract") if writes else (_WRITING, "write")
    for name in other:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option}: expected with --method {needed} only; leave out one of them")


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
        from simmim.cli.encodings import check_encoding

        check_encoding(encoding)
    if overwrite and output is None:
        raise ConfigError("--overwrite: expected --output with it, which says what to begin again")
    if output is not None and as_json:
        raise ConfigError("--json, --output: expected one of them; the file of --output holds JSON lines")
    from simmim.cli.results import is_folder

    if output is not None and not is_folder(output) and output.suffix != ".jsonl":
        raise ConfigError(
            f"--output: expected a file that ends in .jsonl, or a folder (that exists, or has no ending), got {output}"
        )
