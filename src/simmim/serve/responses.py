"""Responses in JSON and as streams, which end when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from simmim.serve.formats import dump

__all__ = ["EventStream", "json_response", "while_connected"]


class EventStream(StreamingResponse):
    """A stream that calls a function when it ends, even by an error."""

    def __init__(self, chunks: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; it ends early if the client disconnects."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def while_connected(request: Request, result: Any) -> Any:
    """Await a result while the client stays connected.

    Raises:
        ClientDisconnect: the client has closed the connection.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving, working = asyncio.ensure_future(disconnected()), asyncio.ensure_future(_awaited(result))
    try:
        await asyncio.wait({leaving, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


async def _awaited(result: Any) -> Any:
    return await result


def json_response(content: Any, status: int = 200, headers: Any = None) -> Response:
    """Return a response in JSON."""
    return Response(dump(content), status, headers, media_type="application/json")
