"""Learn to reply: turn conversations into token ids, with a loss on the replies alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from simmim.errors import ConfigError, DataError
from simmim.models.losses import IGNORED
from simmim.tasks.templates import apply_template

__all__ = ["each_speaker_replies", "encode_conversation", "tokenize_conversations"]


def tokenize_conversations(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Turn conversations into token ids; none is cut.

    Args:
        dataset: Rows with `messages`.
        tokenizer: One with a chat template that marks what the assistant says, such as `add_chat_template` gives.

    Returns:
        The columns `input_ids`, `labels` (the input ids where the assistant speaks, up to the end of its turn; -100
        elsewhere) and `length`, row for row.

    Raises:
        ConfigError: The tokenizer has no chat template, or one that marks nothing.
        DataError: The template refuses a conversation, which is named.
    """

    def tokenize(batch: Mapping[str, Sequence[Any]], rows: list[int]) -> dict[str, list[Any]]:
        encoded = [
            encode_conversation(messages, tokenizer, row) for messages, row in zip(batch["messages"], rows, strict=True)
        ]
        return {
            "input_ids": [ids for ids, _ in encoded],
            "labels": [
                [token if spoken else IGNORED for token, spoken in zip(ids, mask, strict=True)] for ids, mask in encoded
            ],
            "length": [len(ids) for ids, _ in encoded],
        }

    return dataset.map(tokenize, batched=True, batch_size=100, with_indices=True, remove_columns=dataset.column_names)


def each_speaker_replies(dataset: Dataset) -> Dataset:
    """Repeat every conversation for each of its speakers, who then is the assistant; the others are users.

    So every turn is learnt once, with all earlier messages as context. What follows a speaker's last turn is left out,
    and so is a speaker who only opens the conversation, with nothing to reply to. Every second repetition has no names,
    so that the model also talks with a user who gives none. A conversation without names stays.

    Returns:
        The same columns; a row for each speaker of each conversation, in the order in which they speak first.
    """

    def repeat(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        repeated: dict[str, list[Any]] = {column: [] for column in batch}
        for index, messages in enumerate(batch["messages"]):
            for version in _versions(messages):
                for column, values in batch.items():
                    repeated[column].append(version if column == "messages" else values[index])
        return repeated

    return dataset.map(repeat, batched=True, batch_size=100, features=dataset.features)


def encode_conversation(
    messages: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, row: int
) -> tuple[list[int], list[int]]:
    """Return the ids of a conversation, and for each whether the assistant says it (1) or not (0).

    Raises:
        ConfigError, DataError: As of `tokenize_conversations`, or has no reply.
    """
    if tokenizer.chat_template is None:
        raise ConfigError(
            "tokenizer: expected one with a chat template, this one has none; give it ours with "
            "simmim.data.chat_template.add_chat_template"
        )
    try:
        encoded = apply_template(tokenizer, messages, return_dict=True, return_assistant_tokens_mask=True)
    except DataError as error:
        raise DataError(f"row {row}: {error}") from error
    if not any(encoded["assistant_masks"]):
        if any(message["role"] == "assistant" for message in messages):
            raise ConfigError(
                "tokenizer: expected a chat template that marks what the assistant says ({% generation %}), this one "
                "marks nothing; set tokenizer.chat_template to None and give it ours with "
                "simmim.data.chat_template.add_chat_template"
            )
        raise DataError(f"row {row}: expected a message with the role assistant, got none to learn from")
    return encoded["input_ids"], encoded["assistant_masks"]


def _versions(messages: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return a conversation as each of its speakers replies in it."""
    spoken = [message for message in messages if message["role"] != "system"]
    if any(message["name"] is None for message in spoken):
        return [[dict(message) for message in messages]]
    versions: list[list[dict[str, Any]]] = []
    for name in dict.fromkeys(message["name"] for message in spoken):
        version = [
            {**message, "role": "assistant" if message["name"] == name else "user"}
            if message["role"] != "system"
            else dict(message)
            for message in messages
        ]
        while version and version[-1]["role"] != "assistant":
            del version[-1]
        if any(message["role"] == "user" for message in version):
            nameless = {"name": None} if len(versions) % 2 else {}
            versions.append([message | nameless for message in version])
    return versions
