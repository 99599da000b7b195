"""Hands on what a model writes, character by character as soon as it is certain, in time that does not grow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.generation.streamers import BaseStreamer

from simmim.errors import ConfigError

__all__ = ["TextStream"]


class TextStream(BaseStreamer):
    """Decodes the tokens that ``generate`` makes one by one.

    A character that several tokens make up comes when the last of them does. The streamers of transformers decode the
    line so far for every token; this one decodes each token once.

    Raises:
        ConfigError: the tokenizer is no fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, write: Callable[[str], None]) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ConfigError("tokenizer: expected a fast one, which decodes token by token")
        self._backend, self._write = tokenizer.backend_tokenizer, write
        self._stream = DecodeStream(skip_special_tokens=True)
        self._prompt = True
        self._pieces: list[str] = []
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
                self._take(piece)

    def end(self) -> None:
        """Write what was kept back: U+FFFD at the end, which could have become another character."""
        whole, written = self._backend.decode(self.tokens, skip_special_tokens=True), "".join(self._pieces)
        if len(whole) > len(written) and whole.startswith(written):
            self._take(whole[len(written) :])

    def _take(self, piece: str) -> None:
        self._pieces.append(piece)
        self._write(piece)
