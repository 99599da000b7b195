"""The command `simmim generate`: continue a text with a language model, shown as it is written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simmim.cli import options
from simmim.cli.options import AsJson, CausalModel, Device, Dtype, Quiet, Seed, Verbose
from simmim.errors import ConfigError, DataError
from simmim.terminal import terminal_safe

if TYPE_CHECKING:
    from simmim.tasks.language_modelling.continuation import Continuation

__all__ = ["generate"]


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="The text to continue.", show_default="--file, or standard input")
    ] = None,
    model: CausalModel = None,
    file: Annotated[Path | None, typer.Option(help="Continue the text in this file; - is standard input.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest continuation, in tokens.")] = 200,
    temperature: options.Temperature = 0.8,
    top_k: options.TopK = 0,
    top_p: options.TopP = 0.95,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    no_repeat_ngram_size: Annotated[
        int, typer.Option(min=0, help="No sequence of so many tokens twice; 0 allows it.")
    ] = 0,
    num_return_sequences: Annotated[int, typer.Option(min=1, help="So many continuations, one after the other.")] = 1,
    seed: Seed = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Continue a text of any length; all of it is read, in bounded memory.

    What is printed is the continuation alone. The same model, prompt, options and seed give the same text.
    """
    if num_return_sequences > 1 and temperature == 0:
        raise ConfigError(
            "--num-return-sequences: expected 1 with --temperature 0, which writes the same each time, "
            f"got {num_return_sequences}"
        )
    text = _read(prompt, file)
    settings = options.sampling_settings(temperature, top_k, top_p)
    settings |= {"max_new_tokens": max_new_tokens, "repetition_penalty": repetition_penalty}
    settings["no_repeat_ngram_size"] = no_repeat_ngram_size
    # torch and transformers take seconds to import: not before there is something to do
    from transformers import AutoModelForCausalLM

    from simmim.cli.checkpoints import load_model, model_folder
    from simmim.cli.results import json_line
    from simmim.tasks.checkpoints import fingerprint
    from simmim.tasks.language_modelling.continuation import continuations

    folder = model_folder(model)
    loaded, tokenizer = load_model(
        folder, device=device, dtype=options.dtype_of(dtype), auto_class=AutoModelForCausalLM
    )
    found = continuations(
        loaded, tokenizer, text, samples=num_return_sequences, seed=seed, write=None if as_json else _show, **settings
    )
    for number, continuation in enumerate(found, 1):
        if as_json:
            about = {"model": fingerprint(folder), "sample": number, "settings": settings}
            typer.echo(json_line(_record(text, continuation) | about), nl=False)
            continue
        typer.echo("")
        if number < num_return_sequences:
            typer.echo("-" * 3)


def _read(prompt: str | None, file: Path | None) -> str:
    """Return the text to continue, wherever it comes from."""
    from simmim.cli.inputs import STANDARD_INPUT, read_content

    if prompt is not None and file is not None:
        raise ConfigError("PROMPT and --file: expected one of them, got both")
    if prompt is not None:
        text, where = prompt, "PROMPT"
    else:
        if file is None and sys.stdin.isatty():
            raise ConfigError(
                'PROMPT: expected a text to continue, got none; for instance: simmim generate "Once upon a time"'
            )
        where = STANDARD_INPUT if file is None else str(file)
        try:
            text = read_content(where).content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}: expected text in UTF-8, got byte 0x{error.object[error.start]:02x} at offset {error.start}"
            ) from error
        text = text.replace("\r\n", "\n")
        where = "standard input" if where == STANDARD_INPUT else where
    if not text.strip():
        raise DataError(f"{where}: expected a text to continue, got {'a blank' if text else 'an empty'} one")
    if "\0" in text:
        raise DataError(f"{where}: expected a text to continue, got a NUL character at offset {text.index(chr(0))}")
    return text


def _show(piece: str) -> None:
    """Print a piece of a continuation at once."""
    typer.echo(terminal_safe(piece) if sys.stdout.isatty() else piece, nl=False)
    sys.stdout.flush()


def _record(prompt: str, continuation: Continuation) -> dict[str, Any]:
    """Return what a JSON object says of a continuation."""
    return {
        "prompt": prompt,
        "text": continuation.text,
        "prompt_tokens": continuation.prompt_tokens,
        "new_tokens": continuation.new_tokens,
        "complete": continuation.complete,
        "seed": continuation.seed,
        "seconds": round(continuation.seconds, 3),
    }
