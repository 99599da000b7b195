"""The command `python -m lab.fuzz`: tries generated bad inputs and reports the faults of the library."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

# One thread a process: the processes share the cores.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

from rich.console import Console
from rich.progress import track
from rich.table import Table

from lab.fuzz.cases import Case, Kind, Result, Verdict, run_cases
from lab.fuzz.good import make_good
from lab.fuzz.kinds.chats import caches, chats
from lab.fuzz.kinds.data_files import data_files
from lab.fuzz.kinds.documents import documents
from lab.fuzz.kinds.folders import folders
from lab.fuzz.kinds.recipes import recipes
from lab.fuzz.kinds.requests import requests
from lab.fuzz.kinds.runs import runs

__all__ = ["main"]

KINDS: dict[str, Kind] = {
    "documents": documents,
    "model folders": folders,
    "recipes": recipes,
    "runs": runs,
    "chats": chats,
    "caches": caches,
    "data files": data_files,
    "server requests": requests,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m lab.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=5_000, help="how many to try, shared by the kinds")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same inputs")
    parser.add_argument("--number", type=int, help="only the input of this number, to look at a fault again")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="inputs at a time")
    parser.add_argument(
        "--time-limit", type=float, default=10.0, help="processor seconds after which an input is a hang"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="write the results as JSON lines; those that the file holds are not tried again",
    )
    options = parser.parse_args(arguments)
    _import_libraries()
    kinds = {name: KINDS[name] for name in options.kind or KINDS}
    began, results = time.monotonic(), _read(options.output)
    done = {result.case for result in results}
    with tempfile.TemporaryDirectory(prefix="simmim-good-") as folder:
        good = Path(folder)
        _make_good(good)
        count = options.inputs if options.number is None else len(kinds)
        console = Console(stderr=True)
        found = run_cases(
            (case for case in _cases(list(kinds), options.seed, count, options.number) if case not in done),
            kinds,
            good,
            jobs=options.jobs,
            time_limit=options.time_limit,
        )
        for result in track(found, "trying", total=count - len(done), console=console, disable=not console.is_terminal):
            results.append(result)
            _write(options.output, result)
            if result.verdict.fault:
                case = result.case
                print(f"{case.kind} {case.number}: {result.verdict.fault}: {result.verdict.detail}", flush=True)
    _show(kinds, results, time.monotonic() - began)
    return int(any(result.verdict.fault for result in results))


def _cases(kinds: list[str], seed: int, count: int, number: int | None) -> Iterator[Case]:
    """Alternate the kinds, so that a campaign that is interrupted has tried all of them."""
    for index in range(count):
        row, kind = divmod(index, len(kinds))
        yield Case(kinds[kind], row if number is None else number, seed)


def _import_libraries() -> None:
    """Import the libraries before cases are forked, and limit this process to one thread."""
    import datasets
    import torch
    from transformers.utils import logging

    import simmim.serve.endpoints
    import simmim.tasks.summarization.generation
    import simmim.train.trainer  # noqa: F401
    from simmim.cli.main import COMMANDS, load

    for command in COMMANDS:
        load(command)
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    logging.set_verbosity_error()


def _make_good(good: Path) -> None:
    """Make the good inputs in a subprocess: its threads would not survive a fork."""
    process = get_context("fork").Process(target=make_good, args=(good,))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit("the good inputs could not be made")


def _counts(results: list[Result]) -> dict[str, int]:
    faults = Counter(result.verdict.fault for result in results if result.verdict.fault)
    accepted = sum(result.verdict.accepted and not result.verdict.fault for result in results)
    return {
        "inputs": len(results),
        "accepted": accepted,
        "refused": len(results) - accepted - faults.total(),
        "tracebacks": faults.pop("traceback", 0) + faults.pop("crash", 0),
        "hangs": faults.pop("hang", 0),
        "half-written": faults.pop("half-written", 0),
        "other faults": faults.total(),
    }


def _show(kinds: dict[str, Kind], results: list[Result], seconds: float) -> None:
    table = Table(box=None, pad_edge=False)
    rows = {name: _counts([result for result in results if result.case.kind == name]) for name in kinds}
    rows["all"] = _counts(results)
    for column, heading in enumerate(("kind", *rows["all"], "slowest, processor s")):
        table.add_column(heading, justify="right" if column else "left", no_wrap=True)
    for name, counts in rows.items():
        slowest = max((r.processor_seconds for r in results if name in ("all", r.case.kind)), default=0.0)
        table.add_row(name, *(f"{count:,}" for count in counts.values()), f"{slowest:.1f}")
    Console(width=120).print(table)
    print(f"{len(results):,} inputs in {seconds:.0f} s")


def _read(path: Path | None) -> list[Result]:
    """Return the results of a campaign that was interrupted."""
    if path is None or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Result(Case(**row["case"]), Verdict(**row["verdict"]), row["seconds"], row["processor_seconds"]) for row in rows
    ]


def _write(path: Path | None, result: Result) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
