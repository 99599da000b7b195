"""Runs cases, each in a process of its own with a time limit.

The limit is on processor time, so that a busy machine makes no hangs; what waits without computing has `_PATIENCE`
times as long by the clock.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

import psutil

__all__ = ["Case", "Kind", "Result", "Verdict", "run_cases"]

_STACK = ".stack"
_PATIENCE = 6
_POLL = 0.5  # seconds between two looks at the processor time
_MEMORY = 12 * 2**30  # address space of a case, so that the case fails and not the machine


@dataclass(frozen=True)
class Verdict:
    """The outcome of an input.

    Attributes:
        accepted: whether the library accepted it; otherwise it was refused.
        fault: the kind of fault of the library, such as `traceback`; empty if there is none.
        detail: details of the fault.
    """

    accepted: bool
    fault: str = ""
    detail: str = ""


Kind = Callable[[Random, Path, Path], Verdict]
"""Makes and judges an input; takes a random generator, the folder of good inputs and an empty working folder."""


@dataclass(frozen=True)
class Case:
    """Identifies one input: the same seed, kind and number give the same input."""

    kind: str
    number: int
    seed: int

    def rng(self) -> Random:
        """Return the random generator of the case."""
        return Random(f"{self.seed}/{self.kind}/{self.number}")


@dataclass(frozen=True)
class Result:
    """The verdict on a case.

    Attributes:
        case: the case.
        verdict: the outcome.
        seconds: its duration by the clock.
        processor_seconds: the processor time of its process and of their children, as far as it was seen.
    """

    case: Case
    verdict: Verdict
    seconds: float
    processor_seconds: float


@dataclass
class _Running:
    case: Case
    process: multiprocessing.process.BaseProcess
    receiver: Connection
    workdir: Path
    began: float
    processor_seconds: float = 0.0

    def look(self) -> None:
        """Note the processor time so far."""
        with contextlib.suppress(psutil.Error):  # it has just ended
            process = psutil.Process(self.process.pid)
            times = [found.cpu_times() for found in (process, *process.children(recursive=True))]
            now = sum(t.user + t.system for t in times) + times[0].children_user + times[0].children_system
            self.processor_seconds = max(self.processor_seconds, now)

    def late(self, limit: float) -> bool:
        """Return whether the case is a hang."""
        return self.processor_seconds > limit or time.monotonic() - self.began > _PATIENCE * limit


def run_cases(
    cases: Iterator[Case], kinds: dict[str, Kind], good: Path, *, jobs: int, time_limit: float
) -> Iterator[Result]:
    """Run cases, several at a time.

    Args:
        cases: the cases; each starts when a process is free.
        kinds: the functions that make and judge inputs.
        good: the folder of good inputs, which cases only read.
        jobs: number of processes.
        time_limit: seconds of processor time after which a case counts as a hang.

    Yields:
        The results, in order of completion.
    """
    context = multiprocessing.get_context("fork")  # processes share the libraries that are imported here
    running: dict[Connection, _Running] = {}
    with tempfile.TemporaryDirectory(prefix="simmim-fuzz-", ignore_cleanup_errors=True) as folder:
        while True:
            while len(running) < jobs and (case := next(cases, None)) is not None:
                workdir = Path(folder, f"{case.kind}-{case.number}")
                workdir.mkdir()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_run, args=(case, kinds[case.kind], good, workdir, sender))
                process.start()
                sender.close()
                running[receiver] = _Running(case, process, receiver, workdir, time.monotonic())
            if not running:
                return
            ready = wait(list(running), timeout=_POLL)
            for entry in running.values():
                entry.look()
            late = [c for c, entry in running.items() if entry.late(time_limit)]
            for receiver in [c for c in running if c in ready or c in late]:
                entry = running.pop(receiver)
                seconds = time.monotonic() - entry.began
                verdict = _collect(entry, hang=receiver not in ready)
                shutil.rmtree(entry.workdir, ignore_errors=True)
                yield Result(entry.case, verdict, seconds, entry.processor_seconds)


def _collect(entry: _Running, *, hang: bool) -> Verdict:
    """Return the verdict that a process sent, or one on its hang or crash."""
    if hang:
        with contextlib.suppress(OSError, TypeError):
            os.kill(entry.process.pid, signal.SIGUSR1)  # type: ignore[arg-type]
            time.sleep(0.5)
        entry.process.kill()
        entry.process.join()
        entry.receiver.close()
        stack = entry.workdir / _STACK
        return Verdict(False, "hang", stack.read_text(encoding="utf-8", errors="replace") if stack.exists() else "")
    try:
        verdict: Verdict = entry.receiver.recv()
    except EOFError:
        entry.process.join()
        verdict = Verdict(False, "crash", f"the process ended with {entry.process.exitcode}")
    entry.receiver.close()
    entry.process.join(timeout=5)
    if entry.process.is_alive():  # for instance a thread that never ends
        entry.process.kill()
        verdict = Verdict(verdict.accepted, verdict.fault or "hang", verdict.detail or "the process did not end")
    entry.process.join()
    return verdict


def _run(case: Case, kind: Kind, good: Path, workdir: Path, sender: Connection) -> None:
    """Run a case in its process; it writes its stack when it is asked to."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.chdir(workdir)  # for files with relative paths
    with (workdir / _STACK).open("w", encoding="utf-8") as stack:
        # in its own thread, at a signal: a dump by another thread may crash the process
        faulthandler.register(signal.SIGUSR1, file=stack)
        try:
            verdict = kind(case.rng(), good, workdir)
        except Exception:  # an unexpected exception is a fault
            verdict = Verdict(False, "traceback", traceback.format_exc())
        faulthandler.unregister(signal.SIGUSR1)
    if not verdict.fault:
        leftovers = [str(path.relative_to(workdir)) for path in workdir.rglob(".*.draft")]
        executed = [str(path) for path in (*workdir.rglob("executed"), Path("executed")) if path.exists()]
        if executed:
            verdict = Verdict(verdict.accepted, "executed", f"something in the input ran: {executed}")
        elif leftovers:
            verdict = Verdict(verdict.accepted, "half-written", f"left behind: {leftovers}")
    sender.send(verdict)
    sender.close()
