"""Trains a model from a recipe with transformers' Seq2SeqTrainer."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import datasets
import torch
from rich.console import Console
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    set_seed,
)

from simmim.data.corpora import load_corpus, load_examples
from simmim.data.tokenizer import train_tokenizer
from simmim.errors import CheckpointError, ConfigError
from simmim.models import SimMIMConfig, SimMIMForConditionalGeneration
from simmim.tasks.summarisation import tokenize_examples
from simmim.train.reporting import RunReporter
from simmim.train.run_config import DataSection, Recipe
from simmim.train.run_folder import RunFolder

__all__ = ["train"]


def train(recipe: Recipe, *, resume: bool = False, console: Console | None = None) -> Path:
    """Train a model and save it.

    Args:
        recipe: what to train, on what and how.
        resume: go on from the last checkpoint of the run in `recipe.output_dir`.
        console: where to show the progress; standard error where not given.

    Returns:
        The folder of the finished model: weights (safetensors), tokenizer, recipe and package versions.

    Raises:
        ConfigError: a setting has a value that the trainer, the model or this machine refuses.
        DataError: the examples cannot be read.
        CheckpointError: the run's folder holds another run, or nothing to resume.
    """
    console = console or Console(stderr=True)
    folder = RunFolder(recipe)
    arguments = _training_arguments(recipe, folder)
    checkpoint = folder.open(resume=resume)
    set_seed(recipe.seed)
    splits = _load_splits(recipe.data)
    tokenizer = _make_tokenizer(recipe, splits["train"], checkpoint)
    limits = {"max_source_tokens": recipe.data.max_source_tokens, "max_target_tokens": recipe.data.max_target_tokens}
    splits = {name: tokenize_examples(split, tokenizer, **limits) for name, split in splits.items()}
    model = SimMIMForConditionalGeneration(_model_config(recipe, tokenizer))
    console.print(
        f"{recipe.output_dir}: {model.num_parameters():,} parameters, {len(splits['train']):,} examples and "
        f"{len(splits['validation']):,} for validation, on {arguments.device} in {_precision(arguments)}",
        highlight=False,
        soft_wrap=True,
    )
    with RunReporter(folder.log, console) as reporter:
        trainer = Seq2SeqTrainer(
            model=model,
            args=arguments,
            train_dataset=splits["train"],
            eval_dataset=splits["validation"],
            processing_class=tokenizer,
            data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
            callbacks=[reporter],
        )
        trainer.remove_callback(PrinterCallback)  # the reporter says it better
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return folder.save(model, tokenizer)


def _training_arguments(recipe: Recipe, folder: RunFolder) -> Seq2SeqTrainingArguments:
    """Complete the recipe's settings with those that the run owns."""
    defaults: dict[str, Any] = {
        "train_sampling_strategy": "group_by_length",
        # the trainer writes this into the model's configuration, and the model is saved to be used
        "use_cache": True,
        # without an accelerator the trainer would choose the CPU anyway, but refuse bf16 unless told so
        "use_cpu": not torch.accelerator.is_available(),
    }
    owned: dict[str, Any] = {
        "output_dir": str(folder.checkpoints),
        "seed": recipe.seed,
        "disable_tqdm": True,
        "include_num_input_tokens_seen": "non_padding",
    }
    try:
        return Seq2SeqTrainingArguments(**(defaults | recipe.training | owned))
    except (ValueError, ImportError) as error:
        raise ConfigError(f"training: {' '.join(str(error).split())}") from error


def _load_splits(data: DataSection) -> dict[str, datasets.Dataset]:
    """Load what to learn from and what to validate on."""
    if data.corpus is not None:
        corpus = load_corpus(data.corpus)
        return {name: corpus[name] for name in ("train", "validation")}
    assert data.train is not None
    assert data.validation is not None
    return {"train": load_examples(data.train), "validation": load_examples(data.validation)}


def _make_tokenizer(recipe: Recipe, examples: datasets.Dataset, checkpoint: Path | None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the checkpoint or the recipe, or train one on documents and summaries."""
    path = str(checkpoint) if checkpoint is not None else recipe.tokenizer.path
    if path is None:
        assert recipe.tokenizer.vocab_size is not None
        texts = itertools.chain(examples["document"], examples["summary"])
        return train_tokenizer(texts, recipe.tokenizer.vocab_size)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"tokenizer.path: expected a folder with a tokenizer, cannot load {path!r}") from error
    return tokenizer


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


def _precision(arguments: Seq2SeqTrainingArguments) -> str:
    return "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32"
