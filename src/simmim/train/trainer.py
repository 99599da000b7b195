"""Trains a model from a recipe: on masked spans first where it says so, then on the task."""

from __future__ import annotations

import itertools
from pathlib import Path

import datasets
import torch
from rich.console import Console
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
    Seq2SeqTrainingArguments,
    set_seed,
)

from simmim.data.corpora import load_corpus, load_examples
from simmim.data.tokenizer import train_tokenizer
from simmim.errors import CheckpointError, ConfigError
from simmim.models import SimMIMConfig, SimMIMForConditionalGeneration
from simmim.tasks.checkpoints import load_model
from simmim.tasks.denoising import SpanCorruption
from simmim.tasks.summarisation import tokenize_examples
from simmim.train.arguments import pretraining_arguments, task_arguments
from simmim.train.fit import fit
from simmim.train.provenance import data_manifest, initial_model
from simmim.train.run_config import resolved_recipe
from simmim.train.run_folder import RunFolder
from simmim.train.sections import DataSection, Recipe

__all__ = ["train"]


def train(recipe: Recipe, *, resume: bool = False, console: Console | None = None) -> Path:
    """Train a model and save it.

    Args:
        recipe: what to train, on what and how.
        resume: go on from the last checkpoint of the run in `recipe.output_dir`, or from its beginning where it was
            stopped before the first. On a CPU the weights become the same, bit for bit, as without the stop.
        console: where to show the progress; standard error where not given.

    Returns:
        The folder of the finished model: weights (safetensors), tokenizer, recipe, versions and data manifest.

    Raises:
        ConfigError: a setting has a value that the trainer, the model or this machine refuses.
        DataError: the examples cannot be read, or are not those that the run was started with.
        CheckpointError: the run's folder holds another run or nothing to resume, or cannot be written.
        DivergedError: a loss, gradient or weight is not finite.
        RunInterrupted: the process was asked to stop; a checkpoint is saved.
    """
    console = console or Console(stderr=True)
    folder = RunFolder(recipe)
    arguments = task_arguments(recipe, folder.task)
    first_arguments = pretraining_arguments(recipe, folder.pretraining)
    initial = initial_model(recipe)
    with folder.open(resume=resume):
        splits = _load_splits(recipe.data)
        tokenizer = _make_tokenizer(recipe, splits["train"], folder)
        set_seed(recipe.seed)
        model = _make_model(recipe, tokenizer)
        resolved = resolved_recipe(recipe, model.config, arguments, first_arguments)
        folder.record(data_manifest(recipe.data, splits), resolved, initial, resume=resume)
        limits = {key: getattr(recipe.data, key) for key in ("max_source_tokens", "max_target_tokens")}
        splits = {name: tokenize_examples(split, tokenizer, **limits) for name, split in splits.items()}
        _say(
            console,
            f"{recipe.output_dir}: {model.num_parameters():,} parameters, {len(splits['train']):,} examples and "
            f"{len(splits['validation']):,} for validation, on {arguments.device} in {_precision(arguments)}",
        )
        if first_arguments is not None and folder.task.last_checkpoint() is None:
            model = _pretrained(recipe, folder, model, first_arguments, splits["train"], tokenizer, console)
        fit(
            model,
            arguments,
            folder.task,
            recipe,
            train_rows=splits["train"],
            validation_rows=splits["validation"],
            collator=DataCollatorForSeq2Seq(tokenizer, model=model),
            tokenizer=tokenizer,
            console=console,
        )
        return folder.save(folder.task, model, tokenizer)


def _pretrained(
    recipe: Recipe,
    folder: RunFolder,
    model: SimMIMForConditionalGeneration,
    arguments: Seq2SeqTrainingArguments,
    rows: datasets.Dataset,
    tokenizer: PreTrainedTokenizerBase,
    console: Console,
) -> SimMIMForConditionalGeneration:
    """Return the model as the first phase leaves it, which runs unless it has run to its end before."""
    assert recipe.pretraining is not None
    if not folder.pretraining.model.exists():
        _say(console, "pretraining on masked spans of the training documents")
        section = recipe.pretraining
        spans = {"noise_density": section.noise_density, "mean_span": section.mean_span}
        fit(
            model,
            arguments,
            folder.pretraining,
            recipe,
            train_rows=rows.remove_columns("labels"),
            validation_rows=None,
            collator=SpanCorruption(tokenizer, seed=recipe.seed, **spans),
            tokenizer=tokenizer,
            console=console,
        )
        folder.save(folder.pretraining, model, tokenizer)
    _say(console, f"training on the task from the weights in {folder.pretraining.model}")
    loaded: SimMIMForConditionalGeneration = SimMIMForConditionalGeneration.from_pretrained(
        folder.pretraining.model, dtype=torch.float32, local_files_only=True
    )
    return loaded


def _load_splits(data: DataSection) -> dict[str, datasets.Dataset]:
    """Load what to learn from and what to validate on."""
    if data.corpora:
        corpora = [load_corpus(name) for name in data.corpora]
        parts = {name: [corpus[name] for corpus in corpora] for name in ("train", "validation")}
        return {
            name: datasets.concatenate_datasets([rows.select_columns(["document", "summary"]) for rows in found])
            for name, found in parts.items()
        }
    assert data.train is not None
    assert data.validation is not None
    return {"train": load_examples(data.train), "validation": load_examples(data.validation)}


def _make_tokenizer(recipe: Recipe, examples: datasets.Dataset, folder: RunFolder) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the run or the recipe, or train one on documents and summaries; keep it with the run."""
    if folder.tokenizer.exists():
        return _load_tokenizer(folder.tokenizer)
    path = recipe.init_from if recipe.tokenizer is None else recipe.tokenizer.path
    if path is not None:
        tokenizer = _load_tokenizer(Path(path))
    else:
        assert recipe.tokenizer is not None and recipe.tokenizer.vocab_size is not None
        texts = itertools.chain(examples["document"], examples["summary"])
        tokenizer = train_tokenizer(texts, recipe.tokenizer.vocab_size)
    folder.save_tokenizer(tokenizer)
    return tokenizer


def _load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"tokenizer.path: expected a folder with a tokenizer, cannot load {str(path)!r}"
        ) from error
    return tokenizer


def _make_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> SimMIMForConditionalGeneration:
    """Draw a model's weights, or load those that the recipe starts from."""
    if recipe.init_from is None:
        return SimMIMForConditionalGeneration(_model_config(recipe, tokenizer))
    model, _ = load_model(Path(recipe.init_from), "cpu", **recipe.model)
    assert isinstance(model, SimMIMForConditionalGeneration)
    return model


def _model_config(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> SimMIMConfig:
    """Fit the model to the tokenizer."""
    if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
        raise ConfigError("tokenizer.path: expected a tokenizer with a padding and an end token; this one lacks them")
    start = tokenizer.pad_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return SimMIMConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=start,
        **recipe.model,
    )


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def _precision(arguments: Seq2SeqTrainingArguments) -> str:
    return "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32"
