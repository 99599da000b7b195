"""Carries what the engine's thread tells to the request that awaits it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from simmim.serve.errors import RequestError
from simmim.serve.writer import Ended, Piece

__all__ = ["Event", "Feed", "Started"]


@dataclass(frozen=True)
class Started:
    """The prompts are encoded and have so many tokens: from here on there is a reply."""

    prompt_tokens: int


Event = Started | Piece | Ended


class Feed:
    """Holds the events of one job; made in the event loop that reads them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | RequestError | None] = asyncio.Queue()

    def tell(self, event: Event | RequestError | None) -> None:
        """Take the next event, the error that it ended with or None for its end; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def events(self) -> AsyncIterator[Event]:
        """Yield the events up to the end.

        Raises:
            RequestError: the job ended with it.
        """
        while (event := await self._events.get()) is not None:
            if isinstance(event, RequestError):
                raise event
            yield event
