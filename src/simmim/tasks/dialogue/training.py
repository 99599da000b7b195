"""The task `dialogue`: predict what the assistant says in a conversation, and all of a text that is mixed in."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.chat_template import add_chat_template, turn_end_ids
from simmim.data.columns import Column, ConversationColumn
from simmim.data.tokenizer import vocabulary_size
from simmim.tasks.dialogue.examples import each_speaker_replies, tokenize_conversations
from simmim.tasks.language_modelling.examples import tokenize_texts
from simmim.tasks.language_modelling.training import CausalTask, texts_of
from simmim.tasks.training.task import TASKS

__all__ = ["Dialogue"]


@TASKS.register("dialogue")
class Dialogue(CausalTask):
    """Learns replies from `messages`: in a corpus those of every speaker, in files of one's own the assistant's.

    A recipe may mix corpora of texts in, which are learnt as the task `language-modelling` learns them: conversations
    are few, and a model that goes on from a language model with nothing but them forgets the language it knew.
    """

    column_keys = ("messages",)

    def columns(self, rows: datasets.Dataset, source: str) -> datasets.Dataset:
        """Keep the conversations, each as every one of its speakers replies in it, or else the texts."""
        if "messages" in rows.column_names:
            return each_speaker_replies(rows.select_columns(["messages"]))
        return texts_of(rows, source)

    def file_columns(self) -> list[Column]:
        """Return the column of the conversations."""
        return [ConversationColumn(self.recipe.data.column("messages"))]

    def texts(self, rows: datasets.Dataset) -> Iterator[str]:
        """Go through the texts and messages, with the headers that a template writes."""
        yield from _having(rows, "text")["text"]
        for messages in _having(rows, "messages")["messages"]:
            for message in messages:
                yield f"{message['role']} {message['name']}" if message["name"] else message["role"]
                yield message["content"]

    def prepare(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Return the tokenizer with a chat template: its own, or ours."""
        if tokenizer.chat_template is None:
            add_chat_template(tokenizer)
        return super().prepare(tokenizer)

    def rows_of(self, rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
        """Return the ids of every conversation, with labels where the assistant speaks, then those of every text."""
        found = []
        if conversations := _having(rows, "messages"):
            found.append(tokenize_conversations(conversations, tokenizer))
        if texts := _having(rows, "text"):
            learnt = tokenize_texts(texts, tokenizer)
            found.append(learnt.add_column("labels", learnt["input_ids"]))
        return datasets.concatenate_datasets(found)

    def new_model(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        """Return a model that knows the template's tokens and stops at the end of a turn."""
        model = super().new_model(tokenizer)
        rows = vocabulary_size(tokenizer)
        if rows > model.config.vocab_size:
            model.resize_token_embeddings(rows)
        model.config.eos_token_id = turn_end_ids(tokenizer)
        assert model.generation_config is not None
        model.generation_config.eos_token_id = turn_end_ids(tokenizer)
        return model


def _having(rows: datasets.Dataset, column: str) -> datasets.Dataset:
    """Return that column of the rows that have something in it."""
    if column not in rows.column_names:
        return datasets.Dataset.from_dict({column: []})
    indices = [index for index, value in enumerate(rows[column]) if value is not None]
    return rows.select_columns([column]).select(indices)
