"""The task `summarization`: from a document to its summary."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import datasets
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.tokenizer import end_with_end_token
from simmim.errors import DataError
from simmim.models import SimMIMForConditionalGeneration
from simmim.tasks.summarization.examples import tokenize_examples
from simmim.tasks.training.task import TASKS, TrainingTask

__all__ = ["Summarization"]

_COLUMNS = ("document", "summary")


@TASKS.register("summarization")
class Summarization(TrainingTask):
    """An encoder-decoder that reads `document` and writes `summary`."""

    auto_class = AutoModelForSeq2SeqLM
    model_class = SimMIMForConditionalGeneration
    limits = frozenset({"max_source_tokens", "max_target_tokens"})
    column_keys = _COLUMNS
    masks_spans = True

    def columns(self, rows: datasets.Dataset, source: str) -> datasets.Dataset:
        """Keep documents and summaries."""
        if not set(_COLUMNS) <= set(rows.column_names):
            raise DataError(
                f"corpus {source}: expected documents with summaries, it has {', '.join(rows.column_names)}"
            )
        return rows.select_columns(list(_COLUMNS))

    def texts(self, rows: datasets.Dataset) -> Iterator[str]:
        """Go through documents, then summaries."""
        return itertools.chain(rows["document"], rows["summary"])

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Return the tokenizer as one that ends documents and summaries, as that of a language model does not."""
        end_with_end_token(tokenizer)
        return tokenizer

    def tokenize(self, rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
        """Return the ids of documents (`input_ids`) and summaries (`labels`)."""
        return tokenize_examples(rows, tokenizer, **{key: getattr(self.recipe.data, key) for key in self.limits})

    def collator(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Callable[..., Any]:
        """Return what pads documents and summaries."""
        return DataCollatorForSeq2Seq(tokenizer, model=model)
