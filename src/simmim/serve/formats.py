"""Formats replies as in the OpenAI API reference: whole, and as the chunks of a stream."""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from simmim.serve.errors import RequestError
from simmim.serve.feed import Event, Started
from simmim.serve.writer import Ended, Piece

__all__ = ["ChatFormat", "Format", "TextFormat", "dump"]


def dump(content: Any) -> bytes:
    """Return JSON in ASCII, which can represent any string, including lone surrogates from a client."""
    return json.dumps(content, separators=(",", ":")).encode("ascii")


class Format(ABC):
    """The form of one reply.

    Args:
        model: the name of the model.
        fingerprint: digest of the model's configuration, tokenizer and weights.
    """

    prefix: str
    object: str
    chunk_object: str

    def __init__(self, model: str, fingerprint: str) -> None:
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "object": self.object,
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }

    @abstractmethod
    def choice(self, number: int, text: str, reason: str) -> dict[str, Any]:
        """Return a whole choice."""

    @abstractmethod
    def part(self, number: int, text: str | None, reason: str | None) -> dict[str, Any]:
        """Return a part of a choice; its beginning if both `text` and `reason` are None."""

    begins: bool
    """Whether a stream announces the beginning of a choice."""

    async def whole(self, events: AsyncIterator[Event]) -> bytes:
        """Return a whole reply.

        Args:
            events: the events of the job.

        Raises:
            RequestError: the job failed.
        """
        prompt_tokens, texts, ends = 0, dict[int, list[str]](), dict[int, Ended]()
        async for event in events:
            if isinstance(event, Started):
                prompt_tokens = event.prompt_tokens
            elif isinstance(event, Piece):
                texts.setdefault(event.choice, []).append(event.text)
            else:
                ends[event.choice] = event
        choices = [self.choice(number, "".join(texts.get(number, ())), ends[number].reason) for number in sorted(ends)]
        usage = _usage(prompt_tokens, sum(end.tokens for end in ends.values()))
        return dump({**self._head, "choices": choices, "usage": usage})

    async def stream(
        self, started: Started, events: AsyncIterator[Event], choices: int, with_usage: bool
    ) -> AsyncIterator[bytes]:
        """Yield a reply as server-sent events; an error replaces the rest.

        Args:
            started: the first event of the job.
            events: the following events.
            choices: number of choices.
            with_usage: whether the last chunk counts the tokens.
        """
        tokens = 0
        if self.begins:
            for number in range(choices):
                yield self._chunk([self.part(number, None, None)], with_usage)
        try:
            async for event in events:
                if isinstance(event, Piece):
                    yield self._chunk([self.part(event.choice, event.text, None)], with_usage)
                elif isinstance(event, Ended):
                    tokens += event.tokens
                    yield self._chunk([self.part(event.choice, None, event.reason)], with_usage)
                else:  # how long the prompt is was not known before its passages were found
                    started = event
        except RequestError as error:
            yield _event(dump(error.body))
            return
        if with_usage:
            yield self._chunk([], True, _usage(started.prompt_tokens, tokens))
        yield _event(b"[DONE]")

    def _chunk(self, choices: list[dict[str, Any]], with_usage: bool, usage: dict[str, int] | None = None) -> bytes:
        about = {"usage": usage} if with_usage else {}
        return _event(dump({**self._head, "object": self.chunk_object, "choices": choices, **about}))


class ChatFormat(Format):
    """The form of a reply in a conversation."""

    prefix, object, chunk_object, begins = "chatcmpl", "chat.completion", "chat.completion.chunk", True

    def choice(self, number: int, text: str, reason: str) -> dict[str, Any]:
        """Return a whole choice."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": number, "message": message, "logprobs": None, "finish_reason": reason}

    def part(self, number: int, text: str | None, reason: str | None) -> dict[str, Any]:
        """Return a part of a choice; its beginning if both `text` and `reason` are None."""
        begins = {"role": "assistant", "content": ""} if reason is None else {}
        delta = begins if text is None else {"content": text}
        return {"index": number, "delta": delta, "logprobs": None, "finish_reason": reason}


class TextFormat(Format):
    """The form of a continued text."""

    prefix, object, chunk_object, begins = "cmpl", "text_completion", "text_completion", False

    def choice(self, number: int, text: str, reason: str) -> dict[str, Any]:
        """Return a whole choice."""
        return {"index": number, "text": text, "logprobs": None, "finish_reason": reason}

    def part(self, number: int, text: str | None, reason: str | None) -> dict[str, Any]:
        """Return a part of a choice."""
        return {"index": number, "text": text or "", "logprobs": None, "finish_reason": reason}


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
