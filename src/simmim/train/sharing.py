"""How the processes of a run share it: each takes some rows of every batch, so that K processes take the steps of one.

A batch is the run's, whatever the number of processes. One that has fewer rows than there are processes leaves some
without: these compute with a row that has no label, since all take part in every sum of gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from accelerate.data_loader import prepare_data_loader  # type: ignore[import-untyped]  # ships no types
from torch.utils.data import DataLoader, Sampler
from transformers import TrainingArguments

from simmim.models.losses import IGNORED

__all__ = ["SharedBatches", "largest_of", "on_device", "own_rows", "same_for_all", "without_labels"]


def own_rows(rows: Sequence[int], arguments: TrainingArguments) -> list[int]:
    """Return the rows of a batch that this process takes; none, if there are too few."""
    return list(rows[arguments.process_index :: arguments.world_size])


class SharedBatches(Sampler[list[int]]):
    """The part of each batch that this process takes, or its first row, where that is none.

    Args:
        batches: the batches of the run.
        arguments: say which process this is.
    """

    def __init__(self, batches: Any, arguments: TrainingArguments) -> None:
        self._batches, self._arguments = batches, arguments

    def __len__(self) -> int:
        """Return how many batches there are, for every process."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        """Go through the batches."""
        for rows in self._batches:
            yield own_rows(rows, self._arguments) or list(rows[:1])


def on_device(loader: DataLoader[Any], arguments: TrainingArguments) -> DataLoader[Any]:
    """Return a loader of batches that are shared already, which moves them to the device."""
    prepared: DataLoader[Any] = prepare_data_loader(
        loader, device=arguments.device, num_processes=1, process_index=0, put_on_device=True
    )
    return prepared


def without_labels(batches: Iterable[dict[str, Any]], counted: Iterator[bool]) -> Iterator[dict[str, Any]]:
    """Take the labels out of batches that do not count, and all tokens but the first, unless documents are packed."""
    for inputs in batches:
        if next(counted):
            yield inputs
            continue
        left = dict(inputs)
        if all(value.dim() == 2 for value in left.values()):
            left = {name: value[:, :1] for name, value in left.items()}
        for name in left.keys() & {"labels", "shift_labels"}:
            left[name] = torch.full_like(left[name], IGNORED)
        yield left


def same_for_all(value: Any) -> Any:
    """Return what the first process has, on every one."""
    found = [value]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def largest_of(number: int | None, arguments: TrainingArguments) -> int | None:
    """Return the largest of the processes' numbers; None if none has one."""
    if arguments.world_size == 1:
        return number
    found = torch.tensor(number or 0, device=arguments.device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found) or None
