"""Measures what a causal language model pays for each token of whole texts, or of replies, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.control_tokens import control_tokens, encode_plain_text
from simmim.errors import ConfigError
from simmim.models import SimMIMForCausalLM
from simmim.tasks.dialogue.examples import encode_conversation
from simmim.tasks.language_modelling.examples import encode_text
from simmim.tasks.language_modelling.packing import best_fit
from simmim.tasks.templates import apply_template

__all__ = ["TokenCosts", "byte_ends", "score_replies", "score_texts"]

CHUNK = 2048
"""Tokens that are read at a time."""


@dataclass(frozen=True)
class TokenCosts:
    """What a document costs a model, token by token, the end token last.

    Attributes:
        nats: ``[n]`` minus the logarithm of the probability of each token, given all that the model read before it; 0
            for tokens that are not scored.
        ends: ``[n]`` bytes of the text that it is asked to write (UTF-8) up to the end of each token.
    """

    nats: npt.NDArray[np.float64]
    ends: npt.NDArray[np.int64]

    @property
    def bits(self) -> npt.NDArray[np.float64]:
        """The costs in bits."""
        return self.nats / math.log(2)

    @property
    def bytes(self) -> int:
        """The length of the text."""
        return int(self.ends[-1])

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where in the text each token begins, in bytes."""
        return np.concatenate((np.zeros(1, np.int64), self.ends[:-1]))


def byte_ends(tokenizer: PreTrainedTokenizerBase, text: str, *, rendered: bool = False) -> npt.NDArray[np.int64]:
    """Return where each token of a text ends, in bytes, and at the end of all of them that of the end token.

    Tokens that divide one character count with the last of them; what the tokenizer drops counts with the token after.

    Args:
        tokenizer: One that knows offsets (`PreTrainedTokenizerFast`).
        text: The text, which the tokens cover.
        rendered: Whether a chat template wrote it, so that control tokens in it are meant as such.

    Raises:
        ConfigError: The tokenizer does not know where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise ConfigError("tokenizer: expected a fast one, which knows where in the text its tokens stand")
    settings: dict[str, Any] = {"add_special_tokens": False, "return_offsets_mapping": True}
    encoded = tokenizer([text], **settings) if rendered else encode_plain_text(tokenizer, [text], **settings)
    [offsets] = encoded["offset_mapping"]
    ends = np.array([end for _, end in offsets], dtype=np.int64)
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    sizes = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    upto = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
    # of tokens that divide a character, only the last ends with it
    divides = np.append(ends[1:] == ends[:-1], False) if len(ends) else np.zeros(0, bool)
    found = np.where(divides, 0, upto[ends])
    found = np.maximum.accumulate(found) if len(found) else found
    total = upto[-1:]
    return np.concatenate((found[:-1], total, total)) if len(found) else total


def score_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    context: int | None = None,
    chunk: int = CHUNK,
) -> Iterator[tuple[int, TokenCosts]]:
    """Measure whole documents, the context carried from their first token to their last.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        texts: The documents, each read from a start token to an end token.
        context: Forget everything after so many tokens, again and again: a token is then predicted from at most so many
            before it. None never forgets.
        chunk: Tokens that are read at a time; memory grows with them, not with the documents.

    Yields:
        The index of a document among `texts`, and its costs; documents come as they are done, the longest last.

    Raises:
        ConfigError: The context is below 1, or the tokenizer does not know offsets or a start and an end token.
    """

    def whole(index: int) -> _Document:
        [ids] = encode_text(tokenizer, [texts[index]])
        return _Document(ids, byte_ends(tokenizer, texts[index]), np.ones(len(ids) - 1, bool))

    return _score(model, [len(text) for text in texts], whole, context, chunk)


def score_replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    *,
    context: int | None = None,
    chunk: int = CHUNK,
) -> Iterator[tuple[int, TokenCosts]]:
    """Measure what the assistant says in conversations, given all earlier messages.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer, with a chat template that marks what the assistant says (`add_chat_template`).
        conversations: Messages with `role`, `content` and perhaps `name`.
        context: As of `score_texts`, and so is `chunk`.
        chunk: Tokens that are read at a time.

    Yields:
        The index of a conversation, and its costs: those of its replies and of their ends, 0 elsewhere. Bytes are those
        of replies.

    Raises:
        ConfigError: As of `score_texts`, or the tokenizer has no chat template, or one that marks nothing.
        DataError: The template refuses a conversation, or it has no reply; it is named.
    """

    def replies_of(index: int) -> _Document:
        messages = conversations[index]
        ids, by_assistant = encode_conversation(messages, tokenizer, index)
        rendered = apply_template(tokenizer, messages, tokenize=False)
        assert isinstance(rendered, str)
        sizes = np.diff(byte_ends(tokenizer, rendered, rendered=True)[:-1], prepend=0)
        asked = np.array(by_assistant, dtype=bool)
        sizes[~asked | np.isin(ids, tokenizer.convert_tokens_to_ids(control_tokens(tokenizer)))] = 0
        return _Document(ids, np.cumsum(sizes)[1:], asked[1:])

    lengths = [sum(len(message["content"]) for message in messages) for messages in conversations]
    return _score(model, lengths, replies_of, context, chunk)


@dataclass(frozen=True)
class _Document:
    """A document as a model reads it: its tokens, and of all but the first where they end and whether they count."""

    ids: list[int]
    ends: npt.NDArray[np.int64]
    asked: npt.NDArray[np.bool_]


def _score(
    model: PreTrainedModel, lengths: Sequence[int], make: Callable[[int], _Document], context: int | None, chunk: int
) -> Iterator[tuple[int, TokenCosts]]:
    """Measure documents, which are made when their turn comes, the longest last."""
    if context is not None and context < 1:
        raise ConfigError(f"context: expected at least 1 token, got {context}")
    reader = _Reader(model, chunk)
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    waiting: list[tuple[int, _Document, list[tuple[int, int]]]] = []
    capacity = 16 * chunk
    for number, index in enumerate(order):
        document = make(index)
        inputs = len(document.ids) - 1
        spans = [(start, min(start + (context or inputs), inputs)) for start in range(0, inputs, context or inputs)]
        waiting.append((index, document, spans))
        capacity -= inputs
        if capacity <= 0 or number == len(order) - 1:
            read = reader.read([(document.ids, spans) for _, document, spans in waiting])
            for (done, document, _), nats in zip(waiting, read, strict=True):
                yield done, TokenCosts(np.where(document.asked, nats, 0.0), document.ends)
            waiting, capacity = [], 16 * chunk


class _Reader:
    """Reads spans of documents, each on its own: short ones packed into a row, long ones part by part with a cache."""

    def __init__(self, model: PreTrainedModel, chunk: int) -> None:
        self._model, self._chunk = model, chunk
        self._packs = isinstance(model, SimMIMForCausalLM)

    @torch.inference_mode()
    def read(self, documents: Sequence[tuple[list[int], list[tuple[int, int]]]]) -> list[npt.NDArray[np.float64]]:
        """Return what every token but the first of each document costs, read in these spans of its inputs."""
        costs = [np.empty(len(ids) - 1) for ids, _ in documents]
        short: list[tuple[int, int, int]] = []
        for number, (ids, spans) in enumerate(documents):
            for start, end in spans:
                if self._packs and end - start <= self._chunk:
                    short.append((number, start, end))
                else:
                    costs[number][start:end] = self._long(ids[start : end + 1])
        for indices in best_fit([end - start for _, start, end in short], self._chunk):
            chosen = [short[index] for index in indices]
            nats = self._packed([documents[number][0][start : end + 1] for number, start, end in chosen])
            for (number, start, end), own in zip(chosen, nats, strict=True):
                costs[number][start:end] = own
        return costs

    def _packed(self, spans: list[list[int]]) -> list[npt.NDArray[np.float64]]:
        lengths = [len(span) - 1 for span in spans]
        borders = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
        inputs = torch.tensor([[token for span in spans for token in span[:-1]]])
        targets = torch.tensor([token for span in spans for token in span[1:]])
        device = self._model.device
        output = self._model(inputs.to(device), cu_seq_lens_q=borders.to(device), use_cache=False)
        return np.split(_nats(output.logits[0], targets), np.cumsum(lengths)[:-1])

    def _long(self, ids: list[int]) -> npt.NDArray[np.float64]:
        tokens, past, found = torch.tensor([ids]), None, []
        for start in range(0, len(ids) - 1, self._chunk):
            inputs = tokens[:, start : min(start + self._chunk, len(ids) - 1)]
            output = self._model(inputs.to(self._model.device), past_key_values=past, use_cache=True)
            past = output.past_key_values
            found.append(_nats(output.logits[0], tokens[0, start + 1 : start + 1 + inputs.shape[1]]))
        return np.concatenate(found)


def _nats(logits: torch.Tensor, targets: torch.Tensor) -> npt.NDArray[np.float64]:
    costs = F.cross_entropy(logits.float(), targets.to(logits.device), reduction="none")
    return costs.double().cpu().numpy()
