"""The task `dialogue`: predict what the assistant says in a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.chat_template import add_chat_template, turn_end_ids
from simmim.data.examples import load_conversations
from simmim.errors import DataError
from simmim.tasks.dialogue import each_speaker_replies, tokenize_conversations
from simmim.train.language_modelling import CausalTask
from simmim.train.task import TASKS

__all__ = ["Dialogue"]


@TASKS.register("dialogue")
class Dialogue(CausalTask):
    """Learns replies from `messages`: in a corpus those of every speaker, in files of one's own the assistant's."""

    def columns(self, rows: datasets.Dataset, source: str) -> datasets.Dataset:
        """Keep the conversations, each as every one of its speakers replies in it."""
        if "messages" not in rows.column_names:
            raise DataError(f"corpus {source}: expected conversations, it has {', '.join(rows.column_names)}")
        return each_speaker_replies(rows.select_columns(["messages"]))

    def read(self, path: Path) -> datasets.Dataset:
        """Read conversations."""
        return load_conversations(path)

    def texts(self, rows: datasets.Dataset) -> Iterator[str]:
        """Go through what is said, with the headers that a template writes."""
        for messages in rows["messages"]:
            for message in messages:
                yield f"{message['role']} {message['name']}" if message["name"] else message["role"]
                yield message["content"]

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Return the tokenizer with a chat template: its own, or ours."""
        if tokenizer.chat_template is None:
            add_chat_template(tokenizer)
        return tokenizer

    def rows_of(self, rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
        """Return the ids of every conversation, with labels where the assistant speaks."""
        return tokenize_conversations(rows, tokenizer)

    def new_model(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        """Return a model that knows the template's tokens and stops at the end of a turn."""
        model = super().new_model(tokenizer)
        if len(tokenizer) > model.config.vocab_size:
            model.resize_token_embeddings(len(tokenizer))
        model.config.eos_token_id = turn_end_ids(tokenizer)
        assert model.generation_config is not None
        model.generation_config.eos_token_id = turn_end_ids(tokenizer)
        return model
