"""The command `simmim chat`: talk with a model in the terminal, or a turn a line from a file or a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simmim.cli.notices import say
from simmim.cli.options import (
    CausalModel,
    Device,
    Dtype,
    Quiet,
    RepetitionPenalty,
    Seed,
    Temperature,
    TopK,
    TopP,
    Verbose,
    dtype_of,
    sampling_settings,
)
from simmim.errors import ConfigError

if TYPE_CHECKING:
    from simmim.cli.chat_session import ChatSession

__all__ = ["chat"]


def chat(
    model: CausalModel = None,
    document: Annotated[
        str | None, typer.Option(metavar="PATH", help="Talk about this: what simmim read wrote, or a file.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A message before the conversation.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply, in tokens.")] = 256,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    top_k: TopK = 0,
    repetition_penalty: RepetitionPenalty = 1.0,
    seed: Seed = None,
    device: Device = None,
    dtype: Dtype = None,
    user_name: Annotated[str | None, typer.Option(metavar="NAME", help="Your name, for models of plays.")] = None,
    assistant_name: Annotated[str | None, typer.Option(metavar="NAME", help="The name that the model has.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Talk with a model; /help lists what can be typed.

    Without a terminal every line of standard input is a turn. Replies go to standard output, all else to standard
    error.
    """
    settings = sampling_settings(temperature, top_k, top_p)
    settings |= {"max_new_tokens": max_new_tokens, "repetition_penalty": repetition_penalty}
    if document is not None:
        if system or user_name or assistant_name:
            raise ConfigError("--document: expected it without --system, --user-name and --assistant-name")
        _chat_about(document, model, device, dtype, seed, settings)
        return
    # torch and transformers take seconds to import: not before the options are known to be right
    import torch
    from transformers import AutoModelForCausalLM

    from simmim.cli.chat_session import ChatSession
    from simmim.cli.checkpoints import load_model, model_folder
    from simmim.tasks.checkpoints import fingerprint
    from simmim.tasks.dialogue.chat import Chat

    folder = model_folder(model)
    loaded, tokenizer = load_model(folder, device=device, dtype=dtype_of(dtype), auto_class=AutoModelForCausalLM)
    if seed is not None:
        torch.manual_seed(seed)
    names = {"user_name": user_name, "assistant_name": assistant_name}
    session = ChatSession(
        Chat(loaded, tokenizer, system=system, **names), tokenizer, settings, model=fingerprint(folder)
    )
    parameters = f"{loaded.num_parameters():,} parameters, {loaded.device.type}"
    say(f"{model or folder.name}: {parameters}. /help lists what can be typed; /quit or Ctrl-D leaves.")
    _converse(session, user_name or "you")


def _converse(session: ChatSession, name: str) -> None:
    """Answer each line that is typed or piped.

    Raises:
        Exit: a line of a pipe failed.
    """
    failed = 0
    for line in _typed(f"{name}> ") if sys.stdin.isatty() else _piped():
        if line == "/quit":
            break
        failed += not session.take(line)
    if failed and not sys.stdin.isatty():
        raise typer.Exit(1)


def _chat_about(
    document: str,
    model: str | None,
    device: str | None,
    dtype: str | None,
    seed: int | None,
    settings: dict[str, Any],
) -> None:
    """Talk about a document; each reply is followed by the passages that were read for it."""
    import torch

    from simmim.cli.answers import show_passages
    from simmim.cli.chat_session import ChatSession
    from simmim.cli.reading import open_document
    from simmim.tasks.dialogue.document_chat import DocumentChat

    with contextlib.ExitStack() as stack:
        library = open_document(document, model, device, dtype_of(dtype), stack)
        if seed is not None:
            torch.manual_seed(seed)
        chat = DocumentChat(library)
        session = ChatSession(
            chat,
            library.reader.tokenizer,
            settings,
            model=library.reader.fingerprint,
            after=lambda console: (
                show_passages(chat.messages[-2]["content"], chat.last, console) if chat.last else None
            ),
        )
        names = ", ".join(each.about.name for each in library.opened.documents)
        say(f"{names}: {library.opened.tokens:,} tokens. /help lists what can be typed; /quit or Ctrl-D leaves.")
        _converse(session, "you")


def _typed(prompt: str) -> Iterator[str | bytes]:
    """Yield what is typed, a line at a time, with the keys of readline where there is one."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (input() uses it once it is imported)
    while True:
        try:
            yield input(prompt).strip()
        except EOFError:
            typer.echo()
            return
        except KeyboardInterrupt:  # which drops the line
            typer.echo()


def _piped() -> Iterator[str | bytes]:
    """Yield the lines of standard input; one that is no UTF-8 as it is."""
    for line in sys.stdin.buffer:
        try:
            yield line.decode("utf-8").strip()
        except UnicodeDecodeError:
            yield line
