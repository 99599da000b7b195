"""How the processes of a run share it: each takes some rows of every batch, so that K processes take the steps of one.

A batch is the run's, whatever the number of processes. One that has fewer rows than there are processes leaves some
without: these compute with a row that has no label, since all take part in every sum of gradients.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate.data_loader import prepare_data_loader  # type: ignore[import-untyped]  # ships no types
from torch.distributed.rendezvous import rendezvous
from torch.utils.data import DataLoader, Sampler
from transformers import Seq2SeqTrainer, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from simmim.models.losses import IGNORED

__all__ = ["SharedBatches", "SharingTrainer", "connect_again", "largest_of", "on_device", "same_for_all"]


def _own_rows(rows: Sequence[int], arguments: TrainingArguments) -> list[int]:
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
            yield _own_rows(rows, self._arguments) or list(rows[:1])


def on_device(loader: DataLoader[Any], arguments: TrainingArguments) -> DataLoader[Any]:
    """Return a loader of batches that are shared already, which moves them to the device."""
    prepared: DataLoader[Any] = prepare_data_loader(
        loader, device=arguments.device, num_processes=1, process_index=0, put_on_device=True
    )
    return prepared


def _without_labels(batches: Iterable[dict[str, Any]], counted: Iterator[bool]) -> Iterator[dict[str, Any]]:
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


def connect_again(attempt: int) -> None:
    """Connect processes that torchrun has started again.

    Its store still has the addresses of those that were stopped, so the new ones are kept under a name of their own.
    """
    if "MASTER_ADDR" not in os.environ or dist.is_initialized():
        return
    store, rank, size = next(rendezvous("env://"))
    named = dist.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]  # public, but not in its __all__
    dist.init_process_group(store=named, rank=rank, world_size=size)


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


class SharingTrainer(Seq2SeqTrainer):
    """A trainer whose processes share every batch, and whose validation loss is the mean over the labels of all."""

    _counted: Iterator[bool] = iter(())

    def _counts(self, batches: Iterable[Sequence[int]]) -> Iterator[bool]:
        """Say of every batch whether this process has rows of it."""
        return iter([bool(_own_rows(rows, self.args)) for rows in batches])

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Return the batches to validate on; of several processes each takes some rows of every batch."""
        if self.args.world_size == 1:
            return super().get_eval_dataloader(eval_dataset)
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        loader: DataLoader[Any] = DataLoader(
            self._remove_unused_columns(rows, description="evaluation"),
            batch_sampler=SharedBatches(self._validation_batches(rows), self.args),
            collate_fn=self.data_collator,
        )
        return on_device(loader, self.args)

    def _validation_batches(self, rows: Any) -> list[range]:
        size = self.args.eval_batch_size * self.args.world_size
        return [range(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]

    def get_batch_samples(self, epoch_iterator: Iterator[Any], *args: Any, **kwargs: Any) -> Any:
        """Return the batches of a step; those that other processes have to themselves do not count here."""
        if self.args.world_size > 1:
            epoch_iterator = _without_labels(epoch_iterator, self._counted)
        return super().get_batch_samples(epoch_iterator, *args, **kwargs)

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Measure the mean loss over the labels of all batches."""
        model = self.model_wrapped
        model.eval()
        total, count = 0.0, 0
        batches: Iterable[Any] = dataloader
        if self.args.world_size > 1:
            rows = self._validation_batches(range(self.num_examples(dataloader)))
            batches = _without_labels(batches, self._counts(rows))
        for inputs in batches:
            loss, _, _ = self.prediction_step(model, inputs, prediction_loss_only=True)
            labels = self._get_num_items_in_batch([inputs], self.args.device)
            assert loss is not None and labels is not None
            # Every process has its part of the loss over the labels of all, times the processes.
            loss = self.accelerator.reduce(loss, "mean")
            total, count = total + float(loss) * int(labels), count + int(labels)
        metrics = {f"{metric_key_prefix}_loss": total / max(count, 1)}
        return EvalLoopOutput(np.empty(0), None, metrics, self.num_examples(dataloader))
