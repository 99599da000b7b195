"""Splits a chat template around the document: what stands before it is read once, the rest with each question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from simmim.data.control_tokens import encode_plain_text
from simmim.errors import ConfigError

__all__ = ["Prompt"]

_MARK = "\uf8ff"  # private use: no template writes it, and check_text lets it through
Render = Callable[..., Any]


class Prompt:
    """Writes the text before and after a document that stands in the first message of a conversation.

    A tokenizer without a chat template gets plain text: nothing before the document, the question on a line after it.

    Args:
        tokenizer: of the model.
        render: writes a conversation, with the arguments of `apply_chat_template`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, render: Render) -> None:
        self._tokenizer, self._render = tokenizer, render

    def before(self) -> list[int]:
        """Return the tokens that stand before the document."""
        if self._tokenizer.chat_template is None:
            start = self._tokenizer.bos_token_id
            return [] if start is None else [start]
        return self._encode(self._split([{"role": "user", "content": _MARK}])[0])

    def after(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the tokens that follow the document: the conversation, up to the beginning of the next answer.

        Args:
            messages: turns of `user` and `assistant` by turns; the first stands in one message with the document.

        Raises:
            ConfigError: there is no message, or the template does not keep the document.
        """
        if not messages:
            raise ConfigError("messages: expected a question, got none")
        if self._tokenizer.chat_template is None:
            lines = [f"{'Question' if turn['role'] == 'user' else 'Answer'}: {turn['content']}" for turn in messages]
            text = "\n\n" + "\n".join(lines) + "\nAnswer:"
            plain: list[list[int]] = encode_plain_text(self._tokenizer, [text], add_special_tokens=False)["input_ids"]
            return plain[0]
        first = {"role": "user", "content": f"{_MARK}\n\n{messages[0]['content']}"}
        return self._encode(self._split([first, *messages[1:]])[1])

    def _split(self, messages: Sequence[Mapping[str, str]]) -> tuple[str, str]:
        text: str = self._render(self._tokenizer, messages, tokenize=False, add_generation_prompt=True)
        before, mark, after = text.partition(_MARK)
        if not mark or text.count(_MARK) != sum(turn["content"].count(_MARK) for turn in messages):
            raise ConfigError("chat template: expected one that writes the text of a message once and as it is")
        return before, after

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"]
        return ids
