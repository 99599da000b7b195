"""The task `language-modelling`: predict every token of a text from those before it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import datasets
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.tokenizer import begin_with_start_token
from simmim.errors import ConfigError
from simmim.models import SimMIMForCausalLM
from simmim.tasks.language_modelling.examples import text_column, tokenize_texts
from simmim.tasks.language_modelling.packing import PackedRows, pack_rows
from simmim.tasks.training.batching import LengthBatches
from simmim.tasks.training.task import TASKS, TrainingTask

__all__ = ["CausalTask", "LanguageModelling", "texts_of"]


def texts_of(rows: datasets.Dataset, source: str) -> datasets.Dataset:
    """Keep the texts of a corpus, as the column `text`; `source` is its name."""
    column = text_column(rows.column_names, f"corpus {source}")
    return rows.select_columns([column]).rename_columns({column: "text"} if column != "text" else {})


class CausalTask(TrainingTask):
    """Base of the tasks of a causal language model: rows are packed into sequences of one budget, without padding.

    A task gives in `rows_of` a row for each document, with `input_ids` and perhaps `labels` (-100 where no loss is
    wanted); no document reads another, however they are packed.
    """

    auto_class = AutoModelForCausalLM
    model_class = SimMIMForCausalLM
    limits = frozenset({"sequence_length"})
    unit = "packed sequences"

    def check(self) -> None:
        """Refuse what the task has no use for, and ask for the length of a sequence."""
        super().check()
        recipe = self.recipe
        if recipe.data.sequence_length is None:
            raise ConfigError(
                f"data.sequence_length: this key is required for task {recipe.task}: tokens of a training sequence"
            )
        budget = recipe.batching.max_tokens
        if budget is not None and budget < recipe.data.sequence_length:
            raise ConfigError(
                f"batching.max_tokens: expected at least data.sequence_length ({recipe.data.sequence_length}), "
                f"got {budget}"
            )
        if recipe.training.get("label_smoothing_factor"):
            raise ConfigError(
                f"training.label_smoothing_factor: expected 0 for task {recipe.task}, got "
                f"{recipe.training['label_smoothing_factor']}; remove it"
            )

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Return the tokenizer as one that begins a prompt and does not end it."""
        begin_with_start_token(tokenizer)
        return tokenizer

    @abstractmethod
    def rows_of(self, rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
        """Return `input_ids`, and perhaps `labels`, of each document."""

    def tokenize(self, rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
        """Return packed sequences."""
        assert self.recipe.data.sequence_length is not None
        return pack_rows(self.rows_of(rows, tokenizer), self.recipe.data.sequence_length)

    def collator(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Callable[..., Any]:
        """Return what puts sequences one after the other."""
        return PackedRows()

    def batches(self, rows: datasets.Dataset, per_device_train_batch_size: int) -> LengthBatches:
        """Return what puts sequences into batches: as many as fit into the budget, each counted as a full one."""
        size = self._budgeted() or per_device_train_batch_size
        return LengthBatches(rows["length"], seed=self.recipe.seed, max_examples=size)

    def longest(self, rows: datasets.Dataset) -> int:
        """Return how many tokens the longest document, or piece of one, has."""
        return max(max(lengths) for lengths in rows["seq_lens"])

    def training_defaults(self) -> dict[str, Any]:
        """Validate on as many sequences at a time as are trained on."""
        size = self._budgeted() or self.recipe.training.get("per_device_train_batch_size", 8)
        return {"per_device_eval_batch_size": size, "remove_unused_columns": False}

    def _budgeted(self) -> int | None:
        """Return the sequences that fit into the recipe's budget, at least one; None without a budget."""
        budget, length = self.recipe.batching.max_tokens, self.recipe.data.sequence_length
        assert length is not None
        return None if budget is None else max(1, budget // length)


@TASKS.register("language-modelling")
class LanguageModelling(CausalTask):
    """Learns from `text`, or from the `document` of a corpus of examples with summaries."""

    column_keys = ("text",)

    def columns(self, rows: datasets.Dataset, source: str) -> datasets.Dataset:
        """Keep the texts."""
        return texts_of(rows, source)

    def texts(self, rows: datasets.Dataset) -> Iterator[str]:
        """Go through the texts."""
        return iter(rows["text"])

    def rows_of(self, rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
        """Return the ids of every text, between a start and an end token."""
        return tokenize_texts(rows, tokenizer)
