"""Trains a small model on a probe, from its last checkpoint where there is one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState  # type: ignore[import-untyped]  # ships no types
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, Seq2SeqTrainingArguments, set_seed

from lab.probes import Example, Probe, ProbeSettings, ask, batch_of
from simmim.models import SimMIMConfig, SimMIMForCausalLM
from simmim.tasks.training.batching import EpochBatches
from simmim.train.arguments import computes_in_bfloat16
from simmim.train.callbacks import RunReporter
from simmim.train.checkpoints import checkpoint_to_resume
from simmim.train.interruption import Interruption
from simmim.train.recoverable import RecoverableTrainer

__all__ = ["train_on_probe"]

_CHECKPOINTS = 20  # a run


def train_on_probe(
    probe: Probe,
    config: SimMIMConfig,
    settings: ProbeSettings,
    folder: Path,
    *,
    seed: int = 0,
    bf16: bool = False,
    console: Console,
) -> PreTrainedModel:
    """Train a new model, or go on with the one that the folder holds, and return it.

    Args:
        probe: the task.
        config: of the model.
        settings: how it is trained.
        folder: for checkpoints and the log; made if it does not exist.
        seed: of the weights and the texts.
        bf16: compute in bfloat16 by autocast.
        console: where to show the progress.

    Raises:
        CheckpointError: there are checkpoints, and none is whole.
        DivergedError: a loss, gradient or weight is not finite.
        RunInterrupted: the process was asked to stop; a checkpoint is saved.
    """
    set_seed(seed)
    model = SimMIMForCausalLM(config)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoint_to_resume(folder / "checkpoints")
    on_cpu = not torch.accelerator.is_available()
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=math.ceil(settings.steps / 20),
        weight_decay=0.1,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        logging_steps=max(1, settings.steps // 50),
        save_steps=max(1, settings.steps // _CHECKPOINTS),
        save_total_limit=1,
        bf16=computes_in_bfloat16(bf16, on_cpu=on_cpu),
        seed=seed,
        use_cpu=on_cpu,
        disable_tqdm=True,
        remove_unused_columns=False,
        report_to="none",
        include_num_input_tokens_seen="all",
    )
    # accelerate keeps the precision of the run before for the whole process, and refuses another one
    AcceleratorState._reset_state()
    GradientState._reset_state()
    with RunReporter(folder / "log.jsonl", console) as reporter, Interruption() as interruption:
        trainer = _ProbeTrainer(
            batches=_StepBatches(settings),
            interruption=interruption,
            model=model,
            args=arguments,
            train_dataset=_TrainingTexts(probe, settings, seed),
            data_collator=batch_of,
            callbacks=[reporter],
        )
        trainer.remove_callback(PrinterCallback)  # the reporter says it better
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return model


class _ProbeTrainer(RecoverableTrainer):
    """Learns the answers, and nothing else of the texts."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Return the mean cross-entropy of the answers."""
        logits, labels = ask(model, inputs)
        return F.cross_entropy(logits.float(), labels)


class _TrainingTexts(Dataset[Example]):
    """The training texts, numbered in the order in which they are used; the texts of one step are of one length."""

    def __init__(self, probe: Probe, settings: ProbeSettings, seed: int) -> None:
        self._probe, self._settings, self._seed = probe, settings, seed

    def __len__(self) -> int:
        return self._settings.steps * self._settings.batch_size

    def __getitem__(self, number: int) -> Example:
        shortest, longest = self._settings.shortest or self._settings.length, self._settings.length
        step = number // self._settings.batch_size
        random = np.random.default_rng([self._seed, step])
        if self._settings.mostly_short:
            length = round(shortest * (longest / shortest) ** random.random())
        else:
            length = int(random.integers(shortest, longest + 1))
        return self._probe.example("train", self._seed, number, length)


class _StepBatches(EpochBatches):
    """The numbers of the texts of each step."""

    def __init__(self, settings: ProbeSettings) -> None:
        self._settings = settings

    def set_epoch(self, epoch: int) -> None:
        """Take note of the epoch; there is only one."""

    def batches(self, epoch: int) -> list[list[int]]:
        """Return the batches of the epoch."""
        size = self._settings.batch_size
        return [list(range(step * size, (step + 1) * size)) for step in range(self._settings.steps)]

    def __len__(self) -> int:
        return self._settings.steps

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches(0))
