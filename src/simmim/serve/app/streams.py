"""Sends what happens in a job, or in the app, to the page as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response

from simmim.serve.app.board import Board, Task
from simmim.serve.errors import RequestError
from simmim.serve.feed import Feed
from simmim.serve.formats import dump
from simmim.serve.responses import EventStream

__all__ = ["changes", "event", "job_stream"]

_INTERVAL = 0.25
_QUIET = 15.0  # seconds without news after which a comment shows that the connection lives

Work = Callable[[Task, Callable[[dict[str, Any]], None]], dict[str, Any]]


def event(kind: str, content: Any) -> bytes:
    """Return one server-sent event."""
    return b"event: " + kind.encode() + b"\ndata: " + dump(content) + b"\n\n"


def job_stream(board: Board, kind: str, document: str, title: str, work: Work) -> Response:
    """Start a job and stream what it reports: `started`, `piece`s, then `done` or `error`; who leaves stops it.

    Args:
        board: lists the jobs.
        kind: of the job.
        document: id of its document.
        title: what the page calls it.
        work: gets the task and a function that sends a piece; returns what `done` holds.

    Raises:
        RequestError: the queue is full (503).
    """
    feed: Feed[tuple[str, dict[str, Any]]] = Feed()

    def run(task: Task) -> None:
        feed.tell(("done", work(task, lambda piece: feed.tell(("piece", piece)))))

    task = board.start(kind, document, title, run, feed.tell)

    async def chunks() -> AsyncIterator[bytes]:
        yield event("started", {"id": task.number})
        try:
            async for name, content in feed.events():
                yield event(name, content)
        except RequestError as error:
            yield event("error", {**error.body["error"], "stopped": task.stopped})

    def leave() -> None:
        board.stop(task.number)

    return EventStream(chunks(), leave)


async def changes(state: Callable[[], dict[str, Any]], stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield the state of the app whenever it has changed."""
    before: bytes | None = None
    quiet = 0.0
    while not stopping():
        now = event("state", await asyncio.to_thread(state))
        quiet = 0.0 if now != before else quiet + _INTERVAL
        if now != before:
            yield now
        elif quiet >= _QUIET:
            quiet = 0.0
            yield b": alive\n\n"
        before = now
        await asyncio.sleep(_INTERVAL)
