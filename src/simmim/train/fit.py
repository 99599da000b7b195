"""Runs one phase of training: from where it stands to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, GradientState  # type: ignore[import-untyped]  # ships no types
from datasets import Dataset
from rich.console import Console
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Seq2SeqTrainingArguments,
    TrainerCallback,
)
from transformers.integrations.integration_utils import TensorBoardCallback

from simmim.tasks.training.batching import LengthBatches
from simmim.tasks.training.sections import Recipe
from simmim.train.callbacks import EpochEnds, FreedMemory, RunReporter
from simmim.train.interruption import Interruption
from simmim.train.phase import Phase
from simmim.train.recoverable import RecoverableTrainer

__all__ = ["fit"]


def fit(
    model: PreTrainedModel,
    arguments: Seq2SeqTrainingArguments,
    phase: Phase,
    recipe: Recipe,
    *,
    checkpoint: Path | None,
    batches: LengthBatches,
    train_rows: Dataset,
    validation_rows: Dataset | None,
    collator: Callable[..., Any],
    tokenizer: PreTrainedTokenizerBase,
    console: Console,
) -> None:
    """Train a model in place, from a checkpoint of the phase where there is one.

    Args:
        model: the model.
        arguments: how to train it.
        phase: where checkpoints and log go.
        recipe: says when to stop early if the phase is validated.
        checkpoint: where the phase goes on from; it is not evaluated once more there. None begins it.
        batches: which rows of `train_rows` go together.
        train_rows: `input_ids` and `length` of each example, and what else the collator needs.
        validation_rows: the same, to measure the loss on; None measures none.
        collator: makes a batch of rows.
        tokenizer: saved with every checkpoint.
        console: where to show the progress.
    """
    # accelerate keeps the precision of the phase before for the whole process, and refuses another one
    AcceleratorState._reset_state()
    GradientState._reset_state()
    arguments.eval_on_start = arguments.eval_on_start and checkpoint is None
    with RunReporter(phase.log, console) as reporter, Interruption() as interruption:
        callbacks: list[TrainerCallback] = [EpochEnds(), FreedMemory(), reporter]
        if recipe.early_stopping is not None and validation_rows is not None:
            stopping = recipe.early_stopping
            callbacks.append(EarlyStoppingCallback(stopping.patience, float(stopping.threshold)))
        trainer = RecoverableTrainer(
            batches=batches,
            interruption=interruption,
            model=model,
            args=arguments,
            train_dataset=train_rows,
            eval_dataset=validation_rows,
            processing_class=tokenizer,
            data_collator=collator,
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)  # the reporter says it better
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback):
                callback.logging_dir = str(phase.tensorboard)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
