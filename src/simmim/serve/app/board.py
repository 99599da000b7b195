"""The jobs of the app: what runs, what waits, how far each is, and the stop button."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from torch import nn

from simmim.serve.engine import Engine, Job
from simmim.serve.errors import RequestError, busy

__all__ = ["Board", "Task"]

_LONGEST = 7 * 86_400.0  # seconds: a document of a million tokens is read for hours on a small machine


class Task:
    """A job as the page shows it.

    Args:
        number: names it.
        kind: `read`, `summarize`, `ask` or `translate`.
        document: id of its document.
        title: what it is about.
    """

    def __init__(self, number: int, kind: str, document: str, title: str) -> None:
        self.number, self.kind, self.document, self.title = number, kind, document, title
        self.stage, self.done, self.total = "waiting", 0, 0
        self._began = 0.0
        self._first: tuple[float, int] | None = None
        self._job: Job | None = None
        self.stopped = False

    def check(self) -> None:
        """Return if the job may go on.

        Raises:
            Cancelled: it was stopped.
        """
        if self._job is not None:
            self._job.check()

    def advance(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Note how far the job is.

        Raises:
            Cancelled: it was stopped.
        """
        self.check()
        now = time.monotonic()
        if stage != self.stage or self._first is None or done < self.done:
            self._first = now, done
        self.stage, self.done, self.total = stage, done, total

    def about(self) -> dict[str, Any]:
        """Return what the page shows; `left` are the seconds to the end of the stage, None while not known."""
        left, now = None, time.monotonic()
        if self._first is not None and self.done > self._first[1]:
            rate = (self.done - self._first[1]) / max(now - self._first[0], 1e-3)
            left = round((self.total - self.done) / rate, 1)
        seconds = round(now - self._began, 1) if self._began else 0.0
        return {
            **{"id": self.number, "kind": self.kind, "document": self.document, "title": self.title},
            **{"stage": self.stage, "done": self.done, "total": self.total, "left": left, "seconds": seconds},
        }

    def begin(self, job: Job) -> None:
        """Take note of the job that runs it."""
        self._job, self._began = job, time.monotonic()
        self.stage = "running"


class Board:
    """Runs jobs one at a time, with those of `/v1`, and lists them.

    Args:
        engine: runs the jobs.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._tasks: dict[int, tuple[Task, Job, Callable[[RequestError | None], None]]] = {}
        self._current: Task | None = None

    def watch(self, model: nn.Module) -> None:
        """Let the jobs be stopped between two layers of a model: it checks before each."""

        def check(*_: Any) -> None:
            if self._current is not None:
                self._current.check()

        model.register_forward_pre_hook(check)
        for module in model.modules():
            if isinstance(module, nn.ModuleList):
                for layer in module:
                    layer.register_forward_pre_hook(check)

    def start(
        self,
        kind: str,
        document: str,
        title: str,
        work: Callable[[Task], None],
        tell: Callable[[RequestError | None], None] = lambda error: None,
    ) -> Task:
        """Queue a job.

        Args:
            kind: `read`, `summarize`, `ask` or `translate`.
            document: id of its document.
            title: what the page calls it.
            work: does it; it calls `advance` or `check` of the task regularly.
            tell: receives the error that ended it, or None.

        Raises:
            RequestError: the queue is full (503).
        """
        task = Task(next(self._numbers), kind, document, title)

        def run(job: Job) -> None:
            task.begin(job)
            self._current = task
            try:
                work(task)
            finally:
                self._current = None

        def ended(error: RequestError | None) -> None:
            with self._lock:
                self._tasks.pop(task.number, None)
            tell(busy("stopped", 1) if task.stopped and error is not None else error)

        with self._lock:  # the job may end before it is listed otherwise
            job = self.engine.submit(run, ended, _LONGEST, patient=kind == "read")
            self._tasks[task.number] = task, job, ended
        return task

    def stop(self, number: int) -> bool:
        """Stop a job: at once if it waits, otherwise at its next check; False if there is no such job."""
        with self._lock:
            found = self._tasks.get(number)
        if found is None:
            return False
        task, job, ended = found
        task.stopped, waits = True, task.stage == "waiting"
        self.engine.cancel(job)
        if waits:
            ended(busy("stopped", 1))
        return True

    def tasks(self) -> list[Task]:
        """Return the jobs, the running one first."""
        with self._lock:
            return [task for task, _, _ in self._tasks.values()]
