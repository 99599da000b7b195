"""Trains a model from a recipe: on masked spans first where it says so, then on the task."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import datasets
import torch
from rich.console import Console
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Seq2SeqTrainingArguments,
    set_seed,
)

from simmim.console import SafeConsole
from simmim.data.tokenizer import train_tokenizer
from simmim.errors import CheckpointError
from simmim.models import SimMIMConfig
from simmim.models.modeling_simmim import keep_training_length
from simmim.tasks.checkpoints import load_tokenizer
from simmim.tasks.training.batching import LengthBatches
from simmim.tasks.training.sections import Recipe
from simmim.train.arguments import pretraining_arguments, task_arguments
from simmim.train.denoising import SpanCorruption
from simmim.train.fit import fit
from simmim.train.manifest import fault_of
from simmim.train.records import data_manifest, initial_model
from simmim.train.run_config import resolved_recipe
from simmim.train.run_folder import RunFolder
from simmim.train.tasks import TASKS, TrainingTask

__all__ = ["train"]


def train(recipe: Recipe, *, resume: bool = False, console: Console | None = None) -> Path:
    """Train a model and save it.

    Args:
        recipe: what to train, on what and how.
        resume: go on from the newest whole checkpoint of the run in `recipe.output_dir`, or from its beginning where
            it was stopped before the first. On a CPU the weights become the same, bit for bit, as without the stop.
        console: where to show the progress; standard error where not given.

    Returns:
        The folder of the finished model: weights (safetensors), tokenizer, recipe, versions and data manifest.

    Raises:
        ConfigError: a setting has a value that the trainer, the model or this machine refuses.
        DataError: the examples cannot be read, or are not those that the run was started with.
        CheckpointError: the run's folder holds another run, nothing to resume or nothing whole, or cannot be written.
        DivergedError: a loss, gradient or weight is not finite.
        RunInterrupted: the process was asked to stop; a checkpoint is saved.
    """
    console = console or SafeConsole(stderr=True)
    folder = RunFolder(recipe)
    task = TASKS.find(recipe.task)(recipe)
    arguments = task_arguments(recipe, task, folder.task)
    first_arguments = pretraining_arguments(recipe, folder.pretraining)
    leads = arguments.process_index == 0  # of several processes the first writes, and speaks
    console.quiet = console.quiet or not leads
    initial = initial_model(recipe)
    with ExitStack() as stack:
        with arguments.main_process_first(local=False):
            if leads:
                stack.enter_context(folder.open(resume=resume))
            checkpoint = folder.task.last_checkpoint(with_best=arguments.load_best_model_at_end)
            splits = task.load()
            tokenizer = _make_tokenizer(recipe, task, splits["train"], folder)
        set_seed(recipe.seed)
        model = task.new_model(tokenizer)
        assert isinstance(model.config, SimMIMConfig)
        resolved = resolved_recipe(recipe, model.config, arguments, first_arguments)
        if leads:
            folder.record(data_manifest(recipe.data, splits), resolved, initial, resume=resume)
        splits = {name: task.tokenize(split, tokenizer) for name, split in splits.items()}
        keep_training_length(model, task.longest(splits["train"]))
        _say(
            console,
            f"{recipe.output_dir}: {model.num_parameters():,} parameters, {len(splits['train']):,} {task.unit} and "
            f"{len(splits['validation']):,} for validation, on {arguments.device} in {_precision(arguments)}",
        )
        if first_arguments is not None and checkpoint is None:
            batches = task.batches(splits["train"], first_arguments.train_batch_size)
            model = _pretrained(recipe, folder, model, first_arguments, batches, splits["train"], tokenizer, console)
        fit(
            model,
            arguments,
            folder.task,
            recipe,
            checkpoint=checkpoint,
            batches=task.batches(splits["train"], arguments.train_batch_size),
            train_rows=splits["train"],
            validation_rows=splits["validation"],
            collator=task.collator(tokenizer, model),
            tokenizer=tokenizer,
            console=console,
        )
        if leads:
            folder.save(folder.task, model, tokenizer)
        return folder.task.model


def _pretrained(
    recipe: Recipe,
    folder: RunFolder,
    model: PreTrainedModel,
    arguments: Seq2SeqTrainingArguments,
    batches: LengthBatches,
    rows: datasets.Dataset,
    tokenizer: PreTrainedTokenizerBase,
    console: Console,
) -> PreTrainedModel:
    """Return the model as the first phase leaves it, which runs unless it has run to its end before."""
    assert recipe.pretraining is not None
    fault = fault_of(folder.pretraining.model)
    if fault:
        if os.path.lexists(folder.pretraining.model):
            _say(console, f"{folder.pretraining.model} is not whole: {fault}; it is made anew from its checkpoints")
        _say(console, "pretraining on masked spans of the training documents")
        section = recipe.pretraining
        spans = {"noise_density": section.noise_density, "mean_span": section.mean_span}
        fit(
            model,
            arguments,
            folder.pretraining,
            recipe,
            checkpoint=folder.pretraining.last_checkpoint(),
            batches=batches,
            train_rows=rows.remove_columns("labels"),
            validation_rows=None,
            collator=SpanCorruption(tokenizer, seed=recipe.seed, **spans),
            tokenizer=tokenizer,
            console=console,
        )
        with arguments.main_process_first(local=False):
            if arguments.process_index == 0:
                folder.save(folder.pretraining, model, tokenizer)
    _say(console, f"training on the task from the weights in {folder.pretraining.model}")
    loaded: PreTrainedModel = type(model).from_pretrained(
        folder.pretraining.model,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    return loaded


def _make_tokenizer(
    recipe: Recipe, task: TrainingTask, examples: datasets.Dataset, folder: RunFolder
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the run or the recipe, or train one on the examples; keep it with the run."""
    if folder.has_tokenizer():
        return _load_tokenizer(folder.tokenizer)
    path = recipe.init_from if recipe.tokenizer is None else recipe.tokenizer.path
    if path is not None:
        tokenizer = _load_tokenizer(Path(path))
    else:
        assert recipe.tokenizer is not None and recipe.tokenizer.vocab_size is not None
        tokenizer = train_tokenizer(task.texts(examples), recipe.tokenizer.vocab_size)
    tokenizer = task.prepare(tokenizer)
    folder.save_tokenizer(tokenizer)
    return tokenizer


def _load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    try:
        return load_tokenizer(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"tokenizer.path: expected a folder with a tokenizer, cannot load {str(path)!r}: {error}"
        ) from error


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def _precision(arguments: Seq2SeqTrainingArguments) -> str:
    return "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32"
