"""The command `python -m lab.reading.tasks`: counts the cases of the tasks, or shows one for a person to check."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab.reading.tasks.cases import SPLITS, WORDINGS, Case
from lab.reading.tasks.catalogue import TASKS, make_cases
from lab.reading.tasks.documents import default_cache
from simmim.errors import SimMIMError

__all__ = ["main"]

_AROUND = 120  # characters shown before and after the evidence


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m lab.reading.tasks", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="count cases and questions by task, split and wording")
    what.add_argument("--names", action="store_true", help="print the name of every case")
    what.add_argument("--show", metavar="NAME", help="print a case's questions with their evidence in context")
    parser.add_argument("--length", type=int, default=40_000, help="characters of a made document")
    parser.add_argument("--count", type=int, default=5, help="cases of each made task and split")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same cases")
    parser.add_argument("--cache", type=Path, help=f"where the documents are kept (default: {default_cache()})")
    options = parser.parse_args(arguments)
    wanted = options.show.split("/")[0] if options.show else ""
    try:
        cases = make_cases(
            options.cache or default_cache(),
            tasks=[wanted] if wanted else TASKS,
            length=options.length,
            count=options.count,
            seed=options.seed,
        )
    except (SimMIMError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.list:
        _list(cases)
    elif options.names:
        print("\n".join(case.name for case in cases))
    else:
        found = [case for case in cases if case.name == options.show]
        if not found:
            print(f"error: no case is called {options.show}; --names lists them", file=sys.stderr)
            return 1
        _show(found[0])
    return 0


def _list(cases: list[Case]) -> None:
    """Print a row for each task and split."""
    table = Table(box=None, pad_edge=False)
    for heading in ("task", "split", "cases", "characters", *WORDINGS, "questions"):
        table.add_column(heading, justify="left" if heading in ("task", "split") else "right", no_wrap=True)
    groups = {
        (task, split): [case for case in cases if (case.task, case.split) == (task, split)]
        for task in TASKS
        for split in SPLITS
    }
    for split in SPLITS:
        groups["all", split] = [case for case in cases if case.split == split]
    for (task, split), group in groups.items():
        wordings = Counter(question.wording for case in group for question in case.questions)
        size = sum(len(case.text) for case in group)
        counts = (len(group), size, *(wordings[wording] for wording in WORDINGS), wordings.total())
        table.add_row(task, split, *(f"{number:,}" for number in counts))
    Console(width=120).print(table)


def _show(case: Case) -> None:
    """Print the questions of a case; the evidence stands between >>> and <<<."""
    print(f"{case.name}: {case.split}, {len(case.text):,} characters, {len(case.questions)} questions")
    for number, question in enumerate(case.questions, start=1):
        print(f"\n{number}. [{question.wording}] {question.text}")
        print(f"   {question.needs} of: {' | '.join(question.answers) or '(the document does not say)'}")
        for start, end in question.evidence[:10]:
            before, after = case.text[max(0, start - _AROUND) : start], case.text[end : end + _AROUND]
            shown = " ".join(f"{before}>>>{case.text[start:end]}<<<{after}".split())
            print(f"   {start:,}-{end:,}: ...{shown}...")
        if len(question.evidence) > 10:
            print(f"   and {len(question.evidence) - 10} more places")


if __name__ == "__main__":
    sys.exit(main())
