"""Encodes messages and texts, and refuses those that exceed the context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from simmim.errors import SimMIMError
from simmim.serve.errors import RequestError
from simmim.serve.schemas import Message
from simmim.tasks.templates import apply_template

__all__ = ["PromptEncoder"]

_PROBE = 1 << 16  # characters to encode first, to detect a text that is far too long
_SLACK = 64  # a text may have fewer tokens than a prefix of it, since a cut changes the merges


class PromptEncoder:
    """Encodes the prompts of requests."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, max_context: int) -> None:
        self._tokenizer, self._vocabulary, self._max_context = tokenizer, vocabulary, max_context
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._control = [token for token in dict.fromkeys([*tokenizer.all_special_tokens, *added]) if token]

    @property
    def has_template(self) -> bool:
        """Tell whether the tokenizer has a chat template."""
        return self._tokenizer.chat_template is not None

    def conversation(self, messages: Sequence[Message], check: Callable[[], None]) -> list[int]:
        """Return the tokens of a conversation, up to the beginning of the reply.

        Raises:
            RequestError: the template refuses a message, a text contains a control token, or it is too long.
        """
        if not self.has_template:
            raise RequestError(
                "messages: this model has no chat template; use /v1/completions, or serve a model that was trained on "
                "conversations",
                param="messages",
            )
        rows = []
        for index, message in enumerate(messages):
            for key in ("content", "name"):
                self._check_text(getattr(message, key) or "", f"messages[{index}].{key}")
            role = "system" if message.role == "developer" else message.role
            named = {} if message.name is None else {"name": message.name}
            rows.append({"role": role, "content": message.content, **named})
        return self._encode(self._render(rows), "messages", check, add_special_tokens=False)

    def prompt(self, prompt: str | list[int], check: Callable[[], None]) -> list[int]:
        """Return the tokens of a text to continue; a list of tokens stays as it is.

        Raises:
            RequestError: the prompt is too long, or a token is not in the vocabulary.
        """
        if not isinstance(prompt, str):
            return self._checked(prompt, "prompt")
        ids = self._encode(prompt, "prompt", check)
        end = self._tokenizer.eos_token_id
        if ids[-1:] == [end] and not prompt.endswith(self._tokenizer.eos_token or ""):
            ids = ids[:-1]  # some tokenizers append an end token; generation continues the text
        if not ids:
            if self._tokenizer.bos_token_id is None:
                raise RequestError("prompt: expected a text of one token or more, got an empty one", param="prompt")
            ids = [self._tokenizer.bos_token_id]
        return ids

    def _render(self, rows: list[dict[str, Any]]) -> str:
        """Apply the chat template; if it refuses the messages, that is a client error."""
        try:
            rendered = apply_template(self._tokenizer, rows, tokenize=False, add_generation_prompt=True)
        except SimMIMError as error:
            raise RequestError(f"messages: the chat template refuses them: {error}", param="messages") from error
        assert isinstance(rendered, str)
        return rendered

    def _check_text(self, text: str, param: str) -> None:
        for token in self._control:
            if token in text:
                raise RequestError(
                    f"{param}: expected no control token of the tokenizer in the text, got {token!a}; write it in "
                    "another way",
                    param=param,
                )

    def _encode(self, text: str, param: str, check: Callable[[], None], **options: Any) -> list[int]:
        """Encode a text; refuse one that is far too long before all of it is encoded, which takes seconds."""
        size = _PROBE
        while size < len(text):
            check()
            tokens = len(self._ids(text[:size], **options))
            if tokens > self._max_context + _SLACK:
                raise self._too_long(param, f"more than {self._max_context}")
            enough = int(1.1 * size * (self._max_context + _SLACK) / max(1, tokens)) + 1
            size = min(2 * size, enough)  # short steps: a request can be cancelled between them
        check()
        return self._checked(self._ids(text, **options), param)

    def _ids(self, text: str, **options: Any) -> list[int]:
        ids: list[int] = self._tokenizer(text, return_attention_mask=False, **options)["input_ids"]
        return ids

    def _checked(self, ids: list[int], param: str) -> list[int]:
        if len(ids) >= self._max_context:
            raise self._too_long(param, str(len(ids)))
        unknown = next((token for token in ids if not 0 <= token < self._vocabulary), None)
        if unknown is not None:
            raise RequestError(
                f"{param}: expected ids of tokens below {self._vocabulary}, which the model knows, got {unknown}",
                param=param,
            )
        return ids

    def _too_long(self, param: str, tokens: str) -> RequestError:
        return RequestError(
            f"{param}: expected fewer than {self._max_context} tokens, prompt and reply together, got a prompt of "
            f"{tokens}; shorten it",
            param=param,
            code="context_length_exceeded",
        )
