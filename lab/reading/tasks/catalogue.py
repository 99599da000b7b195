"""Gathers the cases of every task, of either split, from the documents in a cache folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lab.reading.tasks.cases import SPLITS, Case
from lab.reading.tasks.documents import documents, haystacks, stanzas
from lab.reading.tasks.needles import NEEDLE_TASKS, needle_cases
from lab.reading.tasks.packages import package_cases
from lab.reading.tasks.written import written_cases

__all__ = ["TASKS", "make_cases"]

WRITTEN = ("manuals", "standards")
TASKS = (*NEEDLE_TASKS, "packages", *WRITTEN)


def make_cases(
    folder: Path,
    *,
    tasks: Sequence[str] = TASKS,
    splits: Sequence[str] = SPLITS,
    length: int = 40_000,
    count: int = 5,
    seed: int = 0,
) -> list[Case]:
    """Make cases.

    Args:
        folder: The cache of documents; what is missing there is fetched.
        tasks: Which tasks.
        splits: Which splits.
        length: Characters of a made document; a case of `manuals` or `standards` is its document as it is, and
            `cases.embed` brings it to a length.
        count: Cases of each made task and split.
        seed: The same seed makes the same cases.

    Raises:
        DataError: A document cannot be fetched.
        ValueError: There is no such task, or a document is not as its questions say.
    """
    unknown = sorted(set(tasks) - set(TASKS))
    if unknown:
        raise ValueError(f"tasks: expected some of {', '.join(TASKS)}, got {', '.join(unknown)}")
    written = written_cases(documents(folder)) if set(tasks) & set(WRITTEN) else []
    makers: dict[str, Callable[[str, str], list[Case]]] = {
        task: lambda task, split: needle_cases(task, length, seed, count, haystacks(folder)[split])
        for task in NEEDLE_TASKS
    }
    makers["packages"] = lambda task, split: package_cases(stanzas(folder), split, length, seed, count)
    for name in WRITTEN:
        makers[name] = lambda task, split: [case for case in written if (case.task, case.split) == (task, split)]
    return [case for task in tasks for split in splits for case in makers[task](task, split)]
