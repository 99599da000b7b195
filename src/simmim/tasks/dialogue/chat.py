"""Keeps a conversation with a model: every token is read once, the cache stays from turn to turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from simmim.data.chat_template import turn_end_ids
from simmim.data.control_tokens import check_no_control_token, control_tokens
from simmim.data.unicode import check_text
from simmim.errors import CheckpointError, ConfigError, DataError
from simmim.models import SimMIMCache
from simmim.tasks.context_window import check_window
from simmim.tasks.templates import apply_template

__all__ = ["Chat", "Reply", "cache_bytes"]

_LONGER = "begin a new conversation (/reset), or have a long text read first: simmim chat --document FILE"
# Stands for the conversation so far, of which only the end matters to what comes next.
_STAND_IN = ({"role": "user", "content": "question"}, {"role": "assistant", "content": "reply"})


@dataclass(frozen=True)
class Reply:
    """A reply and its cost.

    Attributes:
        text: the reply.
        complete: whether the model ended it itself.
        read_tokens: tokens that the model read before it: the new turn, and the history only where it had to be.
        new_tokens: tokens of the reply, without the one that ends the turn.
        context_tokens: tokens of the whole conversation so far.
        cache_bytes: size of the decoding cache.
        seconds: time from the question to the end of the reply.
    """

    text: str
    complete: bool
    read_tokens: int
    new_tokens: int
    context_tokens: int
    cache_bytes: int
    seconds: float


class Chat:
    """Talks with a causal language model.

    The decoding cache is kept, and a turn costs what its own tokens cost: what the model has read or written is never
    read again. Only a conversation that was brought in with `resume` without its cache, or whose last turn failed, is
    read once more.

    Attributes:
        messages: the conversation, as chat templates take it.
        user_name: the name of who asks, where the model has learnt with names.
        assistant_name: the name under which the model replies.

    Raises:
        ConfigError: the tokenizer has no chat template.
        DataError: a name is no line of text, a name or the system message holds a control token or is no valid
            Unicode, or the chat template refuses it.
    """

    messages: list[dict[str, Any]]
    _ids: list[int]
    _cache: Cache | None

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        system: str | None = None,
        user_name: str | None = None,
        assistant_name: str | None = None,
    ) -> None:
        if tokenizer.chat_template is None:
            raise ConfigError(
                "tokenizer: expected one with a chat template, this one has none; take a model that was trained on "
                "conversations (simmim.data.chat_template.add_chat_template gives a tokenizer its template)"
            )
        for name, text in (("system", system), ("user_name", user_name), ("assistant_name", assistant_name)):
            if text is not None:
                check_text(name, text)
                check_no_control_token(name, text, control_tokens(tokenizer))
                if name != "system" and (not text.strip() or text.splitlines() != [text]):
                    raise DataError(f"{name}: expected a name in one line, got {text!a}; leave it out to have none")
        self._model, self._tokenizer = model, tokenizer
        self._system = [] if system is None else [{"role": "system", "content": system}]
        self.user_name, self.assistant_name = user_name, assistant_name
        self.reset()

    def reset(self) -> None:
        """Begin anew, after the system message where there is one."""
        self.resume(self._system)

    def resume(self, messages: Sequence[Mapping[str, Any]], ids: Sequence[int] = (), cache: Path | None = None) -> None:
        """Go on from another conversation, which is read at the next turn, unless a cache stands for it.

        Args:
            messages: the conversation, in place of the present one.
            ids: what `keep` returned of it.
            cache: the file that `keep` wrote; None has the conversation read.

        Raises:
            DataError: the chat template refuses a message.
            CheckpointError: the cache is damaged, or of another model, tokenizer or chat template, or of other messages
                or tokens.
                After any error the present conversation stays.
        """
        self._render([*messages, _STAND_IN[0]])
        kept = None
        if cache is not None:
            self._check_ids(ids, cache)
            kept = SimMIMCache.load(cache, self._model, made_from=self._made_from(messages, ids))
            if len(ids) - kept.get_seq_length() not in (0, 1):  # the last may not have been read yet
                raise CheckpointError(
                    f"{cache}: expected the cache of {len(ids)} tokens, got that of {kept.get_seq_length()}"
                )
        self.messages = [dict(message) for message in messages]
        self._ids, self._cache = ([], None) if kept is None else (list(ids), kept)

    def keep(self, path: Path) -> list[int]:
        """Write what the model keeps of the conversation into a file, so that it need not be read again.

        Returns:
            The tokens of the conversation, which `resume` needs beside the file; none where nothing was written, as
            the conversation is empty or the cache is not one of ours.

        Raises:
            CheckpointError: the file cannot be written.
        """
        if not isinstance(self._cache, SimMIMCache):
            return []
        self._cache.save(path, self._model, made_from=self._made_from(self.messages, self._ids))
        return list(self._ids)

    def _check_ids(self, ids: Sequence[Any], path: Path) -> None:
        """Refuse what is no token of the model."""
        size = len(self._tokenizer)
        if not all(type(token) is int and 0 <= token < size for token in ids):
            raise CheckpointError(f"{path}: expected the cache of tokens from 0 to {size - 1:,}, got others as ids")

    def _made_from(self, messages: Sequence[Mapping[str, Any]], ids: Sequence[int]) -> dict[str, Any]:
        """Return what a cache is made from: tokens, the messages that they say, and what turns one into the other.

        Tokens alone do not settle the messages, nor messages the tokens: a model may write a text in other tokens than
        the tokenizer would.
        """
        return {
            "ids": list(ids),
            "messages": [dict(message) for message in messages],
            "chat_template": self._tokenizer.chat_template,
            "vocabulary": self._tokenizer.get_vocab(),
        }

    @torch.inference_mode()
    def reply(self, text: str, **settings: Any) -> Reply:
        """Say something to the model and have it reply.

        Where this fails or is interrupted, the conversation is what it was before.

        Args:
            text: the message.
            **settings: what `generate` of transformers takes: `max_new_tokens`, `do_sample`, `streamer`, …

        Returns:
            The reply; it is also the last of `messages`.

        Raises:
            DataError: the text is empty, the conversation is longer than the model's window, or the chat template
                refuses the text.
        """
        if not text.strip():
            raise DataError("prompt: expected a text, got an empty one; say something")
        check_text("prompt", text)
        began = time.perf_counter()
        question = self._message("user", text)
        new = self._read(question)
        ids, cache = [*self._ids, *new], self._cache
        needed = len(ids) + int(settings.get("max_new_tokens") or 1)
        check_window(self._model, self._tokenizer, needed, _LONGER)
        self._forget()  # in case of a failure, which leaves the cache half filled
        inputs = torch.tensor([ids], device=self._model.device)
        ends = turn_end_ids(self._tokenizer, self._model)
        generate: Any = self._model.generate  # PreTrainedModel does not declare it
        output = generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            past_key_values=cache,
            eos_token_id=ends,
            return_dict_in_generate=True,
            **{"num_beams": 1, **settings},  # beams cannot be streamed, and some models were saved with them
        )
        reply_ids = output.sequences[0, len(ids) :].tolist()
        complete = bool(reply_ids) and reply_ids[-1] in ends
        if complete:  # it was never read; the template begins the next turn with it
            reply_ids.pop()
        answer = self._tokenizer.decode(reply_ids, skip_special_tokens=True)
        assert isinstance(answer, str)
        self.messages += [question, self._message("assistant", answer)]
        self._ids, self._cache = [*ids, *reply_ids], output.past_key_values
        return Reply(
            text=answer,
            complete=complete,
            read_tokens=len(new),
            new_tokens=len(reply_ids),
            context_tokens=len(self._ids),
            cache_bytes=cache_bytes(self._cache),
            seconds=time.perf_counter() - began,
        )

    def _forget(self) -> None:
        """Have the model read the conversation anew at the next turn."""
        self._ids, self._cache = [], None

    def _message(self, role: str, content: str) -> dict[str, Any]:
        name = self.user_name if role == "user" else self.assistant_name
        return {"role": role, "content": content, **({} if name is None else {"name": name})}

    def _read(self, question: dict[str, Any]) -> list[int]:
        """Return the tokens that the model has to read next: a new turn, or the conversation where it has no cache."""
        if self._cache is None:
            rendered = self._render([*self.messages, question])
        else:
            before = self._render(_STAND_IN, asks=False)
            end = before.rfind(_STAND_IN[1]["content"]) + len(_STAND_IN[1]["content"])
            rendered = self._render([*_STAND_IN, question])
            # a template that leaves replies out, or writes the past anew at every turn
            if _STAND_IN[1]["content"] not in before or rendered[:end] != before[:end]:
                self._forget()
                return self._read(question)
            rendered = rendered[end:]
        settings: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": False}
        encoded: list[int] = self._tokenizer(rendered, **settings)["input_ids"]
        return encoded

    def _render(self, messages: Sequence[Mapping[str, Any]], *, asks: bool = True) -> str:
        """Write messages as the template has it, and where one asks, the beginning of the reply."""
        options: dict[str, Any] = {"tokenize": False, "add_generation_prompt": asks}
        rendered = apply_template(self._tokenizer, messages, assistant_name=self.assistant_name, **options)
        assert isinstance(rendered, str)
        return rendered


def cache_bytes(cache: Cache | None) -> int:
    """Return the size of all arrays that a decoding cache holds, in bytes."""
    if cache is None:
        return 0
    layers = [holder for layer in cache.layers for holder in (layer, getattr(layer, "past", None)) if holder]
    table = getattr(cache, "continuations", None)
    holders = layers if table is None else [*layers, table]
    return sum(getattr(value, "nbytes", 0) for holder in holders for value in vars(holder).values())
