"""Progress on standard error, in a terminal and without --quiet."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from simmim.cli.notices import is_on
from simmim.console import SafeConsole

__all__ = ["bar", "progress", "track"]

_Item = TypeVar("_Item")


def bar(middle: ProgressColumn | None = None, *, transient: bool = False) -> Progress:
    """Return a progress bar: description, bar, counts (or another column) and the time that remains."""
    console = SafeConsole(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), middle or MofNCompleteColumn(), TimeRemainingColumn())
    hidden = is_on("quiet") or not console.is_terminal
    return Progress(*columns, console=console, disable=hidden, transient=transient)


def track(items: Iterable[_Item], title: str, total: int) -> Iterator[_Item]:
    """Yield items behind a bar."""
    with bar() as shown:
        yield from shown.track(items, total, description=title)


@contextmanager
def progress(title: str, source: str = "simmim.data") -> Iterator[None]:
    """Show a spinner with the messages of a logger."""
    logger = logging.getLogger(source)
    with SafeConsole(stderr=True, quiet=is_on("quiet")).status(Text(title)) as status:

        class Show(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                status.update(Text(f"{title}: {record.getMessage()}"))

        handler, level = Show(logging.INFO), logger.level
        handler.addFilter(lambda record: record.levelno == logging.INFO)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
