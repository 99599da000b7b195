"""The command `simmim read`: read documents once, into a folder from which questions are answered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from simmim.cli.notices import complain, say
from simmim.cli.options import AsJson, CausalModel, Device, Dtype, Encoding, Quiet, Verbose, dtype_of

__all__ = ["read"]


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
    model: CausalModel = None,
    keep: Annotated[
        Literal["keys", "text"],
        typer.Option(help="keys: keep the keys and values of all tokens; text: read chosen passages again."),
    ] = "text",
    encoding: Encoding = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Read documents of any length once; ask about them with simmim ask.

    A reading that was interrupted goes on where it stopped: run the same command again. A document that cannot be read
    does not stop the others: it is named at the end, and the exit code is 1.
    """
    from simmim.cli.encodings import check_encoding
    from simmim.cli.inputs import find_documents

    if encoding is not None:
        check_encoding(encoding)
    found = find_documents(inputs, leave_out=output)
    for note in found.notes:
        say(f"note: {note}")
    failures = [str(error) for error in found.errors]
    if found.names:
        # torch and transformers take seconds to import: not before there is something to do
        from simmim.cli.checkpoints import find_model
        from simmim.cli.reading import read_into, say_calibrating, summary_of
        from simmim.reading.reader import ReadingSettings
        from simmim.tasks.reading import load_reader

        find_model(model)
        settings = ReadingSettings(keep=keep)
        reader = load_reader(model, settings, device=device, dtype=dtype_of(dtype), calibrating=say_calibrating)
        failures += read_into(output, reader, found.names, encoding, as_json=as_json)
        if not as_json and (output / "manifest.json").exists():
            say(summary_of(output, reader))
    for failure in failures:
        complain(failure)
    if failures:
        raise typer.Exit(1)
