"""Computes requests one after the other in a thread, few of which may wait, and gives up what nobody awaits."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

from simmim.errors import SimMIMError
from simmim.serve.errors import RequestError, busy

__all__ = ["Cancelled", "Engine", "Expired", "Job"]

logger = logging.getLogger("simmim.serve")

_LONGEST_RETRY = 60


class Cancelled(Exception):
    """Nobody awaits the work any more."""


class Expired(Exception):
    """The work has taken all the time that it has."""


class Job:
    """Holds one request's work.

    Args:
        work: computes; calls ``check`` of the job every now and then.
        tell: gets the error that the work ended with, or None; called from the engine's thread.
        deadline: when it has to end, in seconds of ``time.monotonic``.
    """

    def __init__(
        self, work: Callable[[Job], None], tell: Callable[[RequestError | None], None], deadline: float
    ) -> None:
        self.work, self.tell, self._deadline = work, tell, deadline
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Have the work end at its next check."""
        self._cancelled.set()

    def check(self) -> None:
        """Return if the work is to go on.

        Raises:
            Cancelled: nobody awaits it any more.
            Expired: its time is over.
        """
        if self._cancelled.is_set():
            raise Cancelled
        if time.monotonic() > self._deadline:
            raise Expired


class Engine:
    """Works on one job at a time, in the order in which they came.

    A model takes all cores for one text: a second beside it would make both slower than one after the other.

    Args:
        max_queue: jobs that may wait at most; more are refused.
        time_limit: seconds that a job has, waiting included.
    """

    def __init__(self, *, max_queue: int, time_limit: float) -> None:
        self.max_queue, self.time_limit = max_queue, time_limit
        self._change = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._stopped = False
        self._typical = 1.0  # seconds that a job takes, the last ones above all
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def load(self) -> tuple[int, int]:
        """Return how many jobs are running and how many wait."""
        with self._change:
            return int(self._running is not None), len(self._waiting)

    def submit(self, work: Callable[[Job], None], tell: Callable[[RequestError | None], None]) -> Job:
        """Take on a job.

        Args:
            work: as for ``Job``.
            tell: as for ``Job``.

        Raises:
            RequestError: there is no place for it (503), or the server is being stopped.
        """
        with self._change:
            if self._stopped:
                raise busy("the server is shutting down; try another or wait", 10)
            ahead = len(self._waiting) + (self._running is not None)
            if ahead > self.max_queue:
                seconds = min(_LONGEST_RETRY, max(1, math.ceil(self._typical * ahead)))
                raise busy(f"all places are taken; try again in {seconds} s", seconds)
            job = Job(work, tell, time.monotonic() + self.time_limit)
            self._waiting.append(job)
            self._change.notify()
            return job

    def cancel(self, job: Job) -> None:
        """Give up a job, which frees its place: at once where it waits, else at its next check."""
        job.cancel()
        with self._change:
            if job in self._waiting:
                self._waiting.remove(job)

    def stop(self) -> None:
        """Give up all jobs and take on no more; who awaits one is told so."""
        with self._change:
            self._stopped = True
            left, running = list(self._waiting), self._running
            self._waiting.clear()
            self._change.notify()
        error = busy("the server is shutting down", 10)
        for job in [*left, *([running] if running else [])]:
            job.cancel()
            job.tell(error)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, for so many seconds at most."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                job = self._running = self._waiting.popleft()
            began = time.monotonic()
            error = self._attempt(job)
            with self._change:  # before anybody hears of the end, so that who heard of it finds the place free
                self._running = None
                if error is None:
                    self._typical += 0.2 * (time.monotonic() - began - self._typical)
            job.tell(error)
            del job  # with the memory that its work holds

    def _attempt(self, job: Job) -> RequestError | None:
        """Do the work; whatever happens in it is the job's error alone."""
        try:
            job.check()
            job.work(job)
        except RequestError as error:
            return error
        except Cancelled:
            return busy("the request was given up", 1)
        except Expired:
            seconds = f"{self.time_limit:g} s"
            return RequestError(
                f"the prompt could not be read within {seconds}; send a shorter one",
                status=504,
                code="timeout",
                headers={"x-should-retry": "false"},
            )
        except SimMIMError as error:
            return RequestError(str(error), code="invalid_value")
        except Exception:
            logger.exception("a request failed")
            return RequestError("the server failed; its log says why", status=500, code="internal_error")
        return None
