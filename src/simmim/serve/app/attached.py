"""Lets OpenAI clients ask the documents of the library: each is a model by its id; replies list their passages."""

from __future__ import annotations

from typing import Any

import torch

from simmim.serve.app.board import Task
from simmim.serve.app.desk import Desk
from simmim.serve.endpoints import Tell, Work
from simmim.serve.engine import Job
from simmim.serve.errors import RequestError
from simmim.serve.feed import Started
from simmim.serve.schemas import ChatRequest, Message
from simmim.serve.writer import Ended, Piece

__all__ = ["Attached"]

_MOST_TOKENS, _DEFAULT_TOKENS = 2048, 256
_SHOWN = 240  # characters of a passage


class Attached:
    """The documents of the library as models.

    Args:
        desk: answers.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def cards(self) -> list[dict[str, Any]]:
        """Return the model object of each document that is read."""
        return [
            {"id": entry.id, "object": "model", "created": int(entry.about.get("added") or 0), "owned_by": "library"}
            for entry in self._desk.shelf.entries()
            if entry.document is not None and entry.document.indexed and self._desk.readable(entry)
        ]

    def work(self, asked: ChatRequest) -> Work | None:
        """Return what answers the last message about a document; None if the model is no document.

        Raises:
            RequestError: the document is not read to its end, or a parameter does not apply.
        """
        entry = self._desk.shelf.entry(asked.model)
        if entry is None:
            return None
        if entry.document is None or not entry.document.indexed:
            raise RequestError(f"{entry.name}: it is not read to its end; wait", status=409, code="not_ready")
        limit = asked.max_completion_tokens or asked.max_tokens or _DEFAULT_TOKENS
        if limit > _MOST_TOKENS:
            message = f"max_tokens: expected at most {_MOST_TOKENS} about a document, got {limit}"
            raise RequestError(message, param="max_tokens", code="invalid_value")
        neutral = {"n": 1, "stop": (), "logit_bias": {}, "presence_penalty": 0.0, "frequency_penalty": 0.0}
        for name, value in neutral.items():
            if getattr(asked, name) not in (None, value):
                message = f"{name}: expected it to be left out where a document is asked"
                raise RequestError(message, param=name, code="invalid_value")
        messages = _turns(asked.messages)
        drawn: dict[str, Any] = {"temperature": asked.temperature, "top_p": asked.top_p or 1.0, "top_k": 0}
        settings = drawn if asked.temperature else {}

        def work(job: Job, tell: Tell) -> None:
            task = Task(0, "ask", entry.id, messages[-1]["content"][:200])
            task.begin(job)
            if asked.seed is not None:
                torch.manual_seed(asked.seed)
            begun = False

            def write(text: str) -> None:
                nonlocal begun
                job.check()
                if not begun:
                    tell(Started(0))
                    begun = True
                tell(Piece(0, text))

            page = self._desk.pages.open(entry)
            found = self._desk.ask(
                *(page, messages, task, write), max_new_tokens=limit, do_sample=bool(asked.temperature), **settings
            )
            tell(Started(found["read_tokens"]))
            write(_passages(found["passages"]))
            tell(Ended(0, "stop" if found["complete"] else "length", found["new_tokens"]))

        return work


def _turns(messages: list[Message]) -> list[dict[str, str]]:
    """Return the turns of user and assistant; what a system message holds is put before the next of the user's.

    Raises:
        RequestError: the last message is not the user's.
    """
    turns: list[dict[str, str]] = []
    instructions = ""
    for message in messages:
        if message.role in ("system", "developer"):
            instructions += f"{message.content}\n\n"
        elif message.role == "user":
            turns.append({"role": "user", "content": instructions + message.content})
            instructions = ""
        elif turns:  # a greeting of the assistant is about no question
            turns.append({"role": "assistant", "content": message.content})
    if not turns or turns[-1]["role"] != "user":
        raise RequestError("messages: expected a question of the user at the end", param="messages")
    return turns


def _passages(passages: list[dict[str, Any]]) -> str:
    """Return the passages that were read as a list in Markdown, which chat clients show."""
    lines = []
    for passage in passages:
        where = f"line {passage['line']}" if passage.get("page") is None else f"page {passage['page']}"
        text = " ".join(str(passage["text"]).split())
        lines.append(f"- {passage['document']}, {where}: {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}")
    return "\n\n" + "\n".join(lines)
