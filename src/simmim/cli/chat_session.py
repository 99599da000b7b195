"""Handles each line that is typed in a chat: commands are run, other lines are sent to the model."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.text import Text
from torch import BoolTensor, FloatTensor, LongTensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from simmim.cli.chat_files import cache_file, read_chat, write_chat
from simmim.cli.notices import complain
from simmim.console import SafeConsole
from simmim.errors import CheckpointError, DataError, SimMIMError
from simmim.tasks.dialogue.chat import Chat, Reply
from simmim.tasks.dialogue.document_chat import DocumentChat
from simmim.tasks.streaming import TextStream
from simmim.terminal import terminal_safe

__all__ = ["ChatSession"]

_HELP = """\
/reset        begin a new conversation
/save FILE    save the conversation
/load FILE    go on from a saved conversation
/help         show this
/quit         leave; so does Ctrl-D
Ctrl-C ends a reply early. A line that begins with // is sent with one of them."""


class ChatSession:
    """Answers lines."""

    def __init__(
        self,
        chat: Chat | DocumentChat,
        tokenizer: PreTrainedTokenizerBase,
        settings: dict[str, Any],
        model: str,
        after: Callable[[Console], None] = lambda console: None,
    ) -> None:
        self._chat, self._tokenizer, self._settings, self._model = chat, tokenizer, settings, model
        self._after = after
        self._out, self._err = Console(highlight=False), SafeConsole(stderr=True, highlight=False)
        self._commands: dict[str, Callable[[str], None]] = {
            "reset": self._reset,
            "save": self._save,
            "load": self._load,
            "help": self._help,
        }

    def take(self, line: str | bytes) -> bool:
        """Carry out a command, or say a line to the model and show the reply and what it took.

        Returns:
            Whether it went well; else one line on standard error says why not, and nothing has changed.
        """
        try:
            if isinstance(line, bytes):
                raise DataError(f"prompt: expected text in UTF-8, got {line[:40]!r}; convert it")
            if line.startswith("/") and not line.startswith("//"):
                self._command(line)
            else:
                self._say(line[1:] if line.startswith("//") else line)
        except SimMIMError as error:
            complain(error)
        except OSError as error:
            complain(f"{error.filename}: {error.strerror}")
        except KeyboardInterrupt:
            complain("the reply was dropped; the conversation is as it was before")
        else:
            return True
        return False

    def _command(self, line: str) -> None:
        name, _, rest = line[1:].partition(" ")
        if name not in self._commands:
            known = ", ".join(f"/{command}" for command in [*self._commands, "quit"])
            raise DataError(f"/{name}: expected one of {known}; say a line that begins with / as //{line[1:]}")
        self._commands[name](rest.strip())

    def _say(self, text: str) -> None:
        """Stream the reply of the model, then show a line about it."""
        if self._out.is_terminal:
            self._out.print(Text(f"{self._chat.assistant_name or 'model'}> ", "bold"), end="")
        with _stoppable() as stop:
            reply = self._chat.reply(
                text,
                streamer=TextStream(self._tokenizer, self._show),
                stopping_criteria=StoppingCriteriaList([stop]),
                **self._settings,
            )
        self._out.print()
        note = ""
        if stop.asked:
            note = " · stopped"
        elif not reply.complete:
            note = f" · stopped at {self._settings['max_new_tokens']} tokens; --max-new-tokens allows more"
        self._after(self._err)
        self._tell(_status(reply) + note)

    def _show(self, piece: str) -> None:
        """Print more of the reply."""
        self._out.out(terminal_safe(piece) if self._out.is_terminal else piece, end="", highlight=False)

    def _reset(self, rest: str) -> None:
        self._chat.reset()
        self._tell("a new conversation")

    def _save(self, rest: str) -> None:
        write_chat(_file("save", rest), self._chat.messages, self._model, self._chat.keep)
        self._tell(f"saved {len(self._chat.messages)} messages")

    def _load(self, rest: str) -> None:
        path = _file("load", rest)
        saved = read_chat(path)
        note = "the model reads them at the next turn"
        if saved.ids:
            try:
                self._chat.resume(saved.messages, saved.ids, cache_file(path))
            except CheckpointError as error:
                note = f"without their cache ({' '.join(str(error).split())}): {note}"
            else:
                self._tell(f"loaded {len(saved.messages)} messages with their cache")
                return
        self._chat.resume(saved.messages)
        self._tell(f"loaded {len(saved.messages)} messages; {note}")

    def _help(self, rest: str) -> None:
        self._tell(_HELP)

    def _tell(self, message: str) -> None:
        self._err.print(Text(message, "dim"), soft_wrap=True)


class _Stop(StoppingCriteria):
    """Ends a reply after the present token once it is asked to."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, input_ids: LongTensor, scores: FloatTensor, **kwargs: Any) -> BoolTensor:
        """Tell of every text whether it ends here."""
        ended: Any = input_ids.new_full((len(input_ids),), self.asked).bool()
        return ended


@contextmanager
def _stoppable() -> Iterator[_Stop]:
    """Have the first Ctrl-C end the reply where it is; a second one drops it."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _file(command: str, rest: str) -> Path:
    if not rest:
        raise DataError(f"/{command}: expected the name of a file: /{command} talk.json")
    try:
        path = Path(rest).expanduser()
        fault = "a NUL character" if "\0" in rest else os.fsencode(path) and ""
    except (RuntimeError, UnicodeEncodeError) as error:  # there is no such user; half a character
        fault = str(error)
    if fault:
        raise DataError(f"/{command}: expected the name of a file, got {rest!a}: {fault}")
    return path


def _status(reply: Reply) -> str:
    return (
        f"context {reply.context_tokens:,} tokens · cache {decimal(reply.cache_bytes)} · "
        f"read {reply.read_tokens:,} and wrote {reply.new_tokens:,} tokens in {reply.seconds:.2f} s"
    )
