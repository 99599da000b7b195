"""Hands on what a model writes, character by character as soon as it is certain, in time that does not grow."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import torch
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.generation.streamers import BaseStreamer

from simmim.errors import ConfigError

__all__ = ["TextStream", "steers_terminal", "terminal_safe"]

_JOINERS = "\u200c\u200d\u200e\u200f"  # belong to words of Persian, Hindi, Hebrew and others, and steer nothing else


class TextStream(BaseStreamer):
    """Decodes the tokens that ``generate`` makes one by one.

    A character that several tokens make up comes when the last of them does. The streamers of transformers decode the
    line so far for every token; this one decodes each token once.

    Args:
        tokenizer: a fast one.
        write: gets each piece of the text.

    Raises:
        ConfigError: the tokenizer is no fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, write: Callable[[str], None]) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ConfigError("tokenizer: expected a fast one, which decodes token by token")
        self._backend, self._write = tokenizer.backend_tokenizer, write
        self._stream = DecodeStream(skip_special_tokens=True)
        self._prompt = True
        self.tokens: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        """Take new tokens; the first call brings the prompt, which is not written."""
        if self._prompt:
            self._prompt = False
            return
        for token in value.flatten().tolist():
            self.tokens.append(token)
            piece = self._stream.step(self._backend, token)
            if piece:
                self._write(piece)

    def end(self) -> None:
        """Do nothing: all that is certain has been written."""


def terminal_safe(text: str) -> str:
    """Take out of a text what would steer a terminal; line breaks and tabs stay.

    Args:
        text: any text.
    """
    return "".join("\ufffd" if one not in "\n\t" and steers_terminal(one) else one for one in text)


def steers_terminal(character: str) -> bool:
    """Tell whether a character, a line break or tab among them, is more than what is seen of it."""
    return character not in _JOINERS and unicodedata.category(character)[0] == "C"
