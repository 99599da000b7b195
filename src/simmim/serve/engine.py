"""Runs requests one at a time in a thread, with a bounded queue, and cancels those whose client has gone."""

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
    """The client no longer waits for the work."""


class Expired(Exception):
    """The work has reached its time limit."""


class Job:
    """Holds one request's work.

    Args:
        work: runs the request; it calls ``check`` of the job regularly.
        tell: receives the error that ended the work, or None; called from the engine's thread.
        deadline: latest end, in seconds of ``time.monotonic``.
        patient: whether jobs that are not may overtake it.
    """

    def __init__(
        self,
        work: Callable[[Job], None],
        tell: Callable[[RequestError | None], None],
        deadline: float,
        patient: bool = False,
    ) -> None:
        self.work, self.tell, self._deadline, self.patient = work, tell, deadline, patient
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End the work at its next check."""
        self._cancelled.set()

    def check(self) -> None:
        """Return if the work may continue.

        Raises:
            Cancelled: the client no longer waits for it.
            Expired: its time limit is reached.
        """
        if self._cancelled.is_set():
            raise Cancelled
        if time.monotonic() > self._deadline:
            raise Expired


class Engine:
    """Runs one job at a time, first come, first served.

    One text occupies all cores: two at once would be slower than one after the other.

    Args:
        max_queue: maximum number of waiting jobs; further ones are refused.
        time_limit: maximum seconds of a job, including its wait.
    """

    def __init__(self, *, max_queue: int, time_limit: float) -> None:
        self.max_queue, self.time_limit = max_queue, time_limit
        self._change = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._stopped = False
        self._typical = 1.0  # seconds of a job: a moving average
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def load(self) -> tuple[int, int]:
        """Return the number of running and of waiting jobs."""
        with self._change:
            return int(self._running is not None), len(self._waiting)

    def submit(
        self,
        work: Callable[[Job], None],
        tell: Callable[[RequestError | None], None],
        time_limit: float | None = None,
        patient: bool = False,
    ) -> Job:
        """Queue a job.

        Args:
            work: runs the request.
            tell: receives the error that ended the work, or None.
            time_limit: maximum seconds of this job, including its wait; None for that of the engine.
            patient: whether it lets jobs that are not overtake it while it waits.

        Raises:
            RequestError: the queue is full, or the server is shutting down (503).
        """
        with self._change:
            if self._stopped:
                raise busy("the server is shutting down; try another or wait", 10)
            ahead = len(self._waiting) + (self._running is not None)
            if ahead > self.max_queue:
                seconds = min(_LONGEST_RETRY, max(1, math.ceil(self._typical * ahead)))
                raise busy(f"the queue is full; try again in {seconds} s", seconds)
            job = Job(work, tell, time.monotonic() + (time_limit or self.time_limit), patient)
            behind = sum(other.patient for other in self._waiting) if not patient else 0  # these stand last
            self._waiting.insert(len(self._waiting) - behind, job)
            self._change.notify()
            return job

    def cancel(self, job: Job) -> None:
        """Cancel a job: at once if it waits, otherwise at its next check."""
        job.cancel()
        with self._change:
            if job in self._waiting:
                self._waiting.remove(job)

    def stop(self) -> None:
        """Cancel all jobs with an error and accept no more."""
        with self._change:
            self._stopped = True
            waiting, running = list(self._waiting), self._running
            self._waiting.clear()
            self._change.notify()
        error = busy("the server is shutting down", 10)
        for job in [*waiting, *([running] if running else [])]:
            job.cancel()
            job.tell(error)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most `timeout` seconds."""
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
            with self._change:  # before `tell`: a client that hears of the end may send its next request at once
                self._running = None
                if error is None:
                    self._typical += 0.2 * (time.monotonic() - began - self._typical)
            job.tell(error)
            del job  # frees the memory of its work

    def _attempt(self, job: Job) -> RequestError | None:
        """Run the work of a job and return its error; none stops the engine."""
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
