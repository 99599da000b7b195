"""What a run trains on: the task that a recipe names, which loads examples, tokenises them and builds the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.columns import Column
from simmim.data.corpora import load_corpus
from simmim.data.table import read_table
from simmim.data.tokenizer import vocabulary_size
from simmim.errors import ConfigError
from simmim.models import SimMIMConfig
from simmim.nn.registry import Registry
from simmim.tasks.checkpoints import load_model
from simmim.tasks.training.batching import LengthBatches
from simmim.tasks.training.sections import COLUMN_KEYS, Recipe

__all__ = ["TASKS", "TrainingTask"]

SPLITS = ("train", "validation")


class TrainingTask(ABC):
    """Base of the tasks.

    Attributes:
        auto_class: the class of transformers that finds a saved model for the task.
        model_class: the class of its models.
        limits: keys of the section `data` that say how long examples may be, and mean something here.
        column_keys: keys of the section `data` that name the columns of a file which are read here.
        masks_spans: whether there may be a first phase on masked spans.
        unit: what a row is called when rows are counted.
    """

    auto_class: ClassVar[Any]
    model_class: ClassVar[type[PreTrainedModel]]
    limits: ClassVar[frozenset[str]] = frozenset()
    column_keys: ClassVar[tuple[str, ...]]
    masks_spans: ClassVar[bool] = False
    unit: ClassVar[str] = "examples"

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def check(self) -> None:
        """Refuse what the task has no use for.

        Raises:
            ConfigError: the recipe asks for something that means nothing here.
        """
        every = {key for task in TASKS.values() for key in task.limits}
        for key in sorted(every - self.limits):
            if getattr(self.recipe.data, key) is not None:
                allowed = ", ".join(sorted(self.limits)) or "none such key"
                raise ConfigError(f"data.{key}: task {self.recipe.task} takes {allowed}; remove it")
        for key in COLUMN_KEYS:
            if key not in self.column_keys and getattr(self.recipe.data, key) is not None:
                allowed = ", ".join(self.column_keys)
                raise ConfigError(f"data.{key}: task {self.recipe.task} reads {allowed} of a file; remove it")
        if self.recipe.pretraining is not None and not self.masks_spans:
            raise ConfigError(f"pretraining: task {self.recipe.task} has no phase on masked spans; remove it")

    def load(self) -> dict[str, datasets.Dataset]:
        """Load what to learn from and what to validate on: the splits `train` and `validation`.

        Raises:
            DataError: the examples cannot be read.
        """
        data = self.recipe.data
        if data.corpora:
            corpora = {name: load_corpus(name) for name in data.corpora}
            return {
                split: datasets.concatenate_datasets(
                    [self.columns(found[split], name) for name, found in corpora.items()]
                )
                for split in SPLITS
            }
        return {split: self.read(Path(getattr(data, split))) for split in SPLITS}

    @abstractmethod
    def columns(self, rows: datasets.Dataset, source: str) -> datasets.Dataset:
        """Keep the columns of a corpus that the task learns from; `source` is its name."""

    def file_columns(self) -> list[Column]:
        """Return the columns of a source of the user's that the task learns from."""
        return [Column(self.recipe.data.column(key)) for key in self.column_keys]

    def read(self, path: Path) -> datasets.Dataset:
        """Read such columns from a source of the user's; they get the names that they have in a corpus."""
        rows = read_table(path, self.file_columns())[0]
        names = {self.recipe.data.column(key): key for key in self.column_keys}
        return rows.rename_columns({own: key for own, key in names.items() if own != key})

    @abstractmethod
    def texts(self, rows: datasets.Dataset) -> Iterator[str]:
        """Go through the texts that a tokenizer is trained on."""

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Return a run's tokenizer with what the task needs of it."""
        return tokenizer

    @abstractmethod
    def tokenize(self, rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
        """Return `input_ids`, `labels` and `length` of each row, and what else the collator needs."""

    @abstractmethod
    def collator(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Callable[..., Any]:
        """Return what makes a batch of tokenised rows."""

    def batches(self, rows: datasets.Dataset, per_device_train_batch_size: int) -> LengthBatches:
        """Return what puts rows into batches, by the budget of the recipe or else by their number."""
        budget = self.recipe.batching.max_tokens
        return LengthBatches(
            rows["length"],
            seed=self.recipe.seed,
            max_tokens=budget,
            max_examples=per_device_train_batch_size if budget is None else None,
        )

    def longest(self, rows: datasets.Dataset) -> int:
        """Return how many tokens the longest text has that is read as one, of tokenised rows."""
        return max(rows["length"])

    def training_defaults(self) -> dict[str, Any]:
        """Return arguments of the trainer that hold unless the recipe says otherwise."""
        return {}

    def new_model(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        """Draw a model's weights, or load those that the recipe starts from.

        Raises:
            ConfigError: a setting has a value that the model refuses, or the tokenizer lacks a token.
            CheckpointError: there is no such model.
        """
        recipe = self.recipe
        if recipe.init_from is not None:
            return load_model(Path(recipe.init_from), "cpu", self.auto_class, **recipe.model)[0]
        if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
            raise ConfigError(
                "tokenizer.path: expected a tokenizer with a padding and an end token; this one lacks them"
            )
        start = tokenizer.pad_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        return self.model_class(
            SimMIMConfig(
                vocab_size=vocabulary_size(tokenizer),
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                decoder_start_token_id=start,
                **recipe.model,
            )
        )


TASKS: Registry[TrainingTask] = Registry("task")
