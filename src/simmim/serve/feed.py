"""Passes events from the engine's thread to the request that awaits them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from simmim.serve.errors import RequestError
from simmim.serve.writer import Ended, Piece

__all__ = ["Event", "Feed", "Started"]


@dataclass(frozen=True)
class Started:
    """The prompts are encoded; the reply follows."""

    prompt_tokens: int


Event = Started | Piece | Ended
_Event = TypeVar("_Event")


class Feed(Generic[_Event]):
    """Queues the events of one job; created in the event loop that reads them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[_Event | RequestError | None] = asyncio.Queue()

    def tell(self, event: _Event | RequestError | None) -> None:
        """Queue an event, the error that ended the job, or None at its end; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: no request reads the events
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def events(self) -> AsyncIterator[_Event]:
        """Yield the events until the job ends.

        Raises:
            RequestError: the job failed.
        """
        while (event := await self._events.get()) is not None:
            if isinstance(event, RequestError):
                raise event
            yield event
