"""Runs one case after another, each in a process of its own that is killed when its time is over."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

__all__ = ["Case", "Kind", "Result", "Verdict", "run_cases"]

_STACK = ".stack"
_MEMORY = 12 * 2**30  # of address space, so that a case that takes it all fails and not the machine


@dataclass(frozen=True)
class Verdict:
    """Says what became of an input.

    Attributes:
        accepted: whether it was taken as good; else it was refused.
        fault: what the library did wrong, `traceback` for instance; empty if nothing.
        detail: more of the fault, for whoever mends it.
    """

    accepted: bool
    fault: str = ""
    detail: str = ""


Kind = Callable[[Random, Path, Path], Verdict]
"""Takes a source of chance, the folder of good inputs and an empty folder to work in; makes an input and judges it."""


@dataclass(frozen=True)
class Case:
    """Names one input: the same seed, kind and number give the same one."""

    kind: str
    number: int
    seed: int

    def rng(self) -> Random:
        """Return the source of all chance in the case."""
        return Random(f"{self.seed}/{self.kind}/{self.number}")


@dataclass(frozen=True)
class Result:
    """Holds the verdict on a case, and its seconds."""

    case: Case
    verdict: Verdict
    seconds: float


@dataclass
class _Running:
    case: Case
    process: multiprocessing.process.BaseProcess
    receiver: Connection
    place: Path
    began: float


def run_cases(
    cases: Iterator[Case], kinds: dict[str, Kind], good: Path, *, jobs: int, time_limit: float
) -> Iterator[Result]:
    """Run cases, several at a time.

    Args:
        cases: what to run; taken as processes become free.
        kinds: the functions that make and judge inputs.
        good: the folder of good inputs, which no case changes.
        jobs: processes at a time.
        time_limit: seconds after which a case counts as a hang.

    Yields:
        The results, in the order in which they come.
    """
    context = multiprocessing.get_context("fork")  # the libraries are imported once, here
    running: dict[Connection, _Running] = {}
    with tempfile.TemporaryDirectory(prefix="simmim-fuzz-", ignore_cleanup_errors=True) as folder:
        while True:
            while len(running) < jobs and (case := next(cases, None)) is not None:
                place = Path(folder, f"{case.kind}-{case.number}")
                place.mkdir()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_run, args=(case, kinds[case.kind], good, place, sender, time_limit))
                process.start()
                sender.close()
                running[receiver] = _Running(case, process, receiver, place, time.monotonic())
            if not running:
                return
            deadline = min(entry.began for entry in running.values()) + time_limit
            ready = wait(list(running), timeout=max(0.0, deadline - time.monotonic()))
            late = [c for c, entry in running.items() if time.monotonic() - entry.began > time_limit]
            for receiver in [c for c in running if c in ready or c in late]:
                entry = running.pop(receiver)
                seconds = time.monotonic() - entry.began
                verdict = _collect(entry, hang=receiver not in ready)
                shutil.rmtree(entry.place, ignore_errors=True)
                yield Result(entry.case, verdict, seconds)


def _collect(entry: _Running, *, hang: bool) -> Verdict:
    """Take what a process says at its end, or say how it ended without a word."""
    if hang:
        entry.process.kill()
        entry.process.join()
        entry.receiver.close()
        stack = entry.place / _STACK
        return Verdict(False, "hang", stack.read_text(encoding="utf-8", errors="replace") if stack.exists() else "")
    try:
        verdict: Verdict = entry.receiver.recv()
    except EOFError:
        entry.process.join()
        verdict = Verdict(False, "crash", f"the process ended with {entry.process.exitcode}")
    entry.receiver.close()
    entry.process.join(timeout=5)
    if entry.process.is_alive():  # a thread that never ends
        entry.process.kill()
        verdict = Verdict(verdict.accepted, verdict.fault or "hang", verdict.detail or "the process did not end")
    entry.process.join()
    return verdict


def _run(case: Case, kind: Kind, good: Path, place: Path, sender: Connection, time_limit: float) -> None:
    """Run a case in its process; shortly before its time is over, write down where it is."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.chdir(place)  # for whatever writes beside itself
    with (place / _STACK).open("w", encoding="utf-8") as stack:
        faulthandler.dump_traceback_later(0.9 * time_limit, file=stack)
        try:
            verdict = kind(case.rng(), good, place)
        except Exception:  # whatever a case lets through is what it looks for
            verdict = Verdict(False, "traceback", traceback.format_exc())
        faulthandler.cancel_dump_traceback_later()
    if not verdict.fault:
        leftovers = [str(path.relative_to(place)) for path in place.rglob(".*.draft")]
        executed = [str(path) for path in (*place.rglob("executed"), Path("executed")) if path.exists()]
        if executed:
            verdict = Verdict(verdict.accepted, "executed", f"something in the input ran: {executed}")
        elif leftovers:
            verdict = Verdict(verdict.accepted, "half-written", f"left behind: {leftovers}")
    sender.send(verdict)
    sender.close()
