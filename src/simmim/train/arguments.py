"""Builds the trainer's arguments from a recipe, and decides whether a run computes in bfloat16."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState  # type: ignore[import-untyped]  # ships no types
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

from simmim.errors import ConfigError
from simmim.models import SimMIMConfig, SimMIMForConditionalGeneration
from simmim.tasks.training.sections import Recipe
from simmim.tasks.training.task import TrainingTask
from simmim.train.phase import Phase

__all__ = ["computes_in_bfloat16", "pretraining_arguments", "task_arguments"]

logger = logging.getLogger(__name__)


def computes_in_bfloat16(wanted: bool, *, on_cpu: bool) -> bool:
    """Say whether to compute in bfloat16: where it is wanted, unless the processor would only imitate it.

    Without the instructions for it (on x86 AVX-512 or newer ones), a product of matrices in bfloat16 took 26 times as
    long as in float32. There float32 is taken, with a warning: it is more exact and faster.

    Args:
        wanted: what the recipe or the command says.
        on_cpu: whether the run computes on the processor, not on an accelerator.
    """
    if not wanted or not on_cpu or _has_bfloat16():
        return wanted
    logger.warning(
        "bf16: this processor has no instructions for bfloat16 and would take many times as long; the run computes in "
        "float32"
    )
    return False


def _has_bfloat16() -> bool:
    """Say whether products of matrices on this processor have instructions that bfloat16 gains by."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def task_arguments(recipe: Recipe, task: TrainingTask, phase: Phase) -> Seq2SeqTrainingArguments:
    """Make the arguments of the training on the task.

    Raises:
        ConfigError: a value is refused by transformers or this machine, or early stopping has nothing to go by.
    """
    settings = task.training_defaults() | recipe.training
    if recipe.early_stopping is not None:
        settings.setdefault("metric_for_best_model", "loss")
    arguments = _complete(settings, recipe, phase, "training")
    if recipe.early_stopping is not None and arguments.eval_strategy == "no":
        raise ConfigError("early_stopping: expected training.eval_strategy steps or epoch to go by, got no")
    if arguments.metric_for_best_model not in (None, "loss", "eval_loss"):
        raise ConfigError(
            f"training.metric_for_best_model: expected loss, the one that is measured while training, got "
            f"{arguments.metric_for_best_model}"
        )
    return arguments


def pretraining_arguments(recipe: Recipe, phase: Phase) -> Seq2SeqTrainingArguments | None:
    """Make the arguments of the first phase; None if the recipe has none.

    Raises:
        ConfigError: a value is refused by transformers or this machine.
    """
    if recipe.pretraining is None:
        return None
    settings = {**recipe.pretraining.training, "eval_strategy": "no"}
    return _complete(settings, recipe, phase, "pretraining.training", remove_unused_columns=False)


def _complete(
    settings: dict[str, Any], recipe: Recipe, phase: Phase, section: str, **more: Any
) -> Seq2SeqTrainingArguments:
    defaults: dict[str, Any] = {
        # the trainer writes this into the model's configuration, and the model is saved to be used
        "use_cache": True,
        # without an accelerator the trainer would choose the CPU anyway, but refuse bf16 without use_cpu
        "use_cpu": not torch.accelerator.is_available(),
    }
    owned: dict[str, Any] = {
        "output_dir": str(phase.checkpoints),
        "seed": recipe.seed,
        "disable_tqdm": True,
        "include_num_input_tokens_seen": "non_padding",
        "restore_callback_states_from_checkpoint": True,
    }
    chosen = defaults | settings | owned | more
    if chosen.get("bf16") is True and not chosen.get("fp16"):  # both are refused below
        chosen["bf16"] = computes_in_bfloat16(True, on_cpu=bool(chosen["use_cpu"]))
    try:
        _dry_run(chosen)
    except Exception as error:  # of transformers, accelerate, torch and whatever packages the settings ask for
        named = f"{section}.{key}" if (key := _culprit(chosen, settings)) else section
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        raise ConfigError(f"{named}: {reason}") from error
    arguments = Seq2SeqTrainingArguments(**chosen)
    if arguments.world_size > 1:
        _check_processes(arguments, section)
    return arguments


def _check_processes(arguments: Seq2SeqTrainingArguments, section: str) -> None:
    """Refuse what several processes cannot do, or would do to other losses than one."""
    if arguments.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"):
        raise ConfigError(f"{section}.fsdp: expected none, got FSDP; every process holds the whole model (DDP)")
    if not arguments.average_tokens_across_devices:
        raise ConfigError(f"{section}.average_tokens_across_devices: expected true with several processes, got false")


def _dry_run(chosen: dict[str, Any]) -> None:
    """Build a trainer, an optimizer, a scheduler and loaders from settings, around a model of next to nothing.

    Missing packages and unknown names are found here, before any work is done.
    """
    sizes: dict[str, Any] = {"vocab_size": 8, "hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 1}
    AcceleratorState._reset_state()
    GradientState._reset_state()
    with tempfile.TemporaryDirectory(prefix="simmim-") as folder:
        arguments = Seq2SeqTrainingArguments(**chosen | {"output_dir": folder})
        rows: Any = [{"input_ids": [0]}]
        trainer = Seq2SeqTrainer(
            model=SimMIMForConditionalGeneration(
                SimMIMConfig(num_hidden_layers=1, num_decoder_layers=1, segment_length=2, **sizes)
            ),
            args=arguments,
            train_dataset=rows,
            eval_dataset=rows,
        )
        if not arguments.optim_target_modules:  # these are of the model itself
            trainer.create_optimizer_and_scheduler(num_training_steps=2)
        trainer.get_train_dataloader()
        trainer.get_eval_dataloader()


def _culprit(chosen: dict[str, Any], settings: dict[str, Any]) -> str | None:
    """Return the setting without which the others work; None if there is no such one."""
    for key in settings:
        try:
            _dry_run({name: value for name, value in chosen.items() if name != key})
        except Exception:  # whatever it is, this key is not alone to blame
            continue
        return key
    return None
