"""The task `translation`: from blocks in one language to as many in another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.source_digest import source_digest
from simmim.data.tokenizer import end_with_end_token
from simmim.errors import ConfigError, DataError
from simmim.models import SimMIMForConditionalGeneration
from simmim.tasks.training.task import TASKS, TrainingTask
from simmim.tasks.translation.examples import tokenize_pages
from simmim.tasks.translation.pages import Page, read_pages
from simmim.tasks.translation.vocabulary import add_translation_tokens

__all__ = ["Translation"]


@TASKS.register("translation")
class Translation(TrainingTask):
    """An encoder-decoder that reads the blocks of a page and writes them in the language that a tag names."""

    auto_class = AutoModelForSeq2SeqLM
    model_class = SimMIMForConditionalGeneration
    limits = frozenset({"max_source_tokens", "max_target_tokens", "directions"})
    column_keys = ()

    def check(self) -> None:
        """Refuse what the task has no use for, and directions that are none."""
        super().check()
        if self.recipe.data.corpora:
            raise ConfigError("data.corpus: task translation reads files; name them in data.train and data.validation")
        for direction in self.directions:
            if len(direction.split("-")) != 2 or not all(direction.split("-")):
                raise ConfigError(f"data.directions: expected directions such as en-fr, got {direction!r}")

    @property
    def directions(self) -> list[str]:
        """The directions that are learnt."""
        found = self.recipe.data.directions
        if not found:
            raise ConfigError("data.directions: this key is required for task translation, such as [en-fr, fr-en]")
        return found

    def columns(self, rows: datasets.Dataset, source: str) -> datasets.Dataset:
        """Refuse a corpus, which has no translations."""
        raise DataError(f"corpus {source}: expected translated pages, it has {', '.join(rows.column_names)}")

    def read(self, path: Path) -> datasets.Dataset:
        """Read the pages of a file."""
        size, digest = source_digest(path)
        rows = [page.__dict__ for page in read_pages(path)]
        info = datasets.DatasetInfo(download_checksums={str(path.absolute()): {"num_bytes": size, "checksum": digest}})
        return datasets.Dataset.from_list(rows, info=info)

    def texts(self, rows: datasets.Dataset) -> Iterator[str]:
        """Go through the blocks of both sides."""
        for side in ("source", "target"):
            yield from itertools.chain.from_iterable(rows[side])

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Return the tokenizer with tags for the target languages and marks."""
        end_with_end_token(tokenizer)
        add_translation_tokens(tokenizer, {direction.split("-")[1] for direction in self.directions})
        return tokenizer

    def tokenize(self, rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
        """Return the ids of blocks with their tag (`input_ids`) and of their translations (`labels`)."""
        data = self.recipe.data
        limits = {"max_source_tokens": data.max_source_tokens, "max_target_tokens": data.max_target_tokens}
        pages = (Page(**row) for row in rows)
        found = tokenize_pages(pages, tokenizer, self.directions, seed=self.recipe.seed, **limits)
        if not len(found):
            raise DataError(f"data: expected pages in the directions {', '.join(self.directions)}, found none")
        return found

    def collator(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Callable[..., Any]:
        """Return what pads sources and translations."""
        return DataCollatorForSeq2Seq(tokenizer, model=model)
