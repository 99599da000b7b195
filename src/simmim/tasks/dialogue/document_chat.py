"""Talks about documents that were read: every turn finds and reads the passages that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simmim.data.unicode import check_text
from simmim.errors import DataError
from simmim.reading.answering import Answer
from simmim.tasks.dialogue.chat import Reply
from simmim.tasks.reading import Library

__all__ = ["DocumentChat"]


class DocumentChat:
    """A conversation about a folder of documents, with the methods of `Chat`.

    Attributes:
        messages: the conversation.
        last: the last answer with its passages; None before the first.

    Args:
        library: the documents.
    """

    user_name = assistant_name = None

    def __init__(self, library: Library) -> None:
        self._library = library
        self.messages: list[dict[str, Any]] = []
        self.last: Answer | None = None

    def reset(self) -> None:
        """Begin anew, with the same documents."""
        self.messages, self.last = [], None

    def resume(self, messages: Sequence[Mapping[str, Any]], ids: Sequence[int] = (), cache: Path | None = None) -> None:
        """Go on from another conversation.

        Raises:
            DataError: it does not begin with the user, or the roles do not change from message to message.
        """
        for number, message in enumerate(messages):
            if message["role"] != ("user", "assistant")[number % 2]:
                raise DataError(
                    "messages: expected turns of user and assistant by turns, beginning with user, got "
                    f"{message['role']!r} as message {number + 1}; a conversation about a document has no other"
                )
        self.messages = [dict(message) for message in messages]

    def keep(self, path: Path) -> list[int]:
        """Write nothing: a turn needs no cache of the turns before it."""
        return []

    def reply(self, text: str, **settings: Any) -> Reply:
        """Answer a turn; if that fails, the conversation stays as it was.

        Raises:
            DataError: the text is empty, or too long together with the conversation.
        """
        if not text.strip():
            raise DataError("prompt: expected a text, got an empty one; say something")
        check_text("prompt", text)
        messages = [*self.messages, {"role": "user", "content": text}]
        found = self._library.answer(messages, **settings)
        self.messages = [*messages, {"role": "assistant", "content": found.text}]
        self.last = found
        return Reply(
            text=found.text,
            complete=found.complete,
            read_tokens=found.read_tokens,
            new_tokens=found.new_tokens,
            context_tokens=self._library.opened.tokens,
            cache_bytes=0,
            seconds=found.seconds,
        )
