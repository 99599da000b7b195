"""Lets a run that is asked to stop (SIGTERM, Ctrl-C) finish its step and save itself."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from simmim.errors import SimMIMError

__all__ = ["Interruption", "RunInterrupted"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class RunInterrupted(SimMIMError):
    """A run was asked to stop, and has saved itself."""

    def __init__(self, signal_number: int, checkpoint: str) -> None:
        self.signal_number = signal_number
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; saved {checkpoint}, go on with --resume")
        self.checkpoint = checkpoint


class Interruption:
    """Remembers, while its block runs, that the process was asked to stop.

    A second Ctrl-C stops at once, with KeyboardInterrupt. Outside the main thread nothing is remembered: Python hands
    signals to that one alone.
    """

    signal_number: int | None = None

    def __enter__(self) -> Self:
        """Take the signals over."""
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
