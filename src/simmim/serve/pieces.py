"""Turns the tokens of one reply into pieces of text, up to where it ends: a token, a stop text or a limit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from transformers import PreTrainedTokenizerBase

from simmim.tasks.streaming import TextStream

__all__ = ["Pieces"]


class Pieces:
    """Follows a reply token by token.

    What may be the beginning of a stop text is kept back until it is known.

    Attributes:
        tokens: tokens that were written, the one that ended the reply included.
        reason: why it ended, ``stop`` or ``length``; None while it goes on.

    Args:
        tokenizer: a fast one.
        ends: tokens that end a reply.
        stops: texts that end a reply and do not belong to it.
        write: gets each piece of the text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        ends: Collection[int],
        stops: Sequence[str],
        write: Callable[[str], None],
    ) -> None:
        self.tokens, self.reason = 0, None
        self._tokenizer, self._ends, self._stops, self._write = tokenizer, ends, stops, write
        self._stream = TextStream(tokenizer, self._take)
        self._stream.put(torch.empty(0))  # the prompt, which is no part of it
        self._decoded = 0
        self._kept = ""

    reason: str | None

    def put(self, token: int) -> None:
        """Take the next token; none is taken after the end."""
        if self.reason is not None:
            return
        self.tokens += 1
        if token in self._ends:
            self.end("stop")
        else:
            self._stream.put(torch.tensor([token]))

    def end(self, reason: str) -> None:
        """End the reply, and write what was kept back."""
        if self.reason is not None:
            return
        self._stream.end()
        # What is left are the bytes of a character that was cut off: they read as they do in the whole text.
        whole = self._tokenizer.decode(self._stream.tokens, skip_special_tokens=True)
        assert isinstance(whole, str)
        self._take(whole[self._decoded :])
        if self.reason is None:
            self.reason = reason
            self._write_if_any(self._kept)

    def _take(self, piece: str) -> None:
        self._decoded += len(piece)
        if self.reason is not None:
            return
        self._kept += piece
        found = [place for stop in self._stops if (place := self._kept.find(stop)) >= 0]
        if found:
            self.reason = "stop"
            self._write_if_any(self._kept[: min(found)])
            return
        certain = len(self._kept) - self._beginning()
        self._write_if_any(self._kept[:certain])
        self._kept = self._kept[certain:]

    def _beginning(self) -> int:
        """Return how many of the last characters may be the beginning of a stop text."""
        longest = min(len(self._kept), max(map(len, self._stops), default=1) - 1)
        for size in range(longest, 0, -1):
            if any(stop.startswith(self._kept[-size:]) for stop in self._stops):
                return size
        return 0

    def _write_if_any(self, text: str) -> None:
        if text:
            self._write(text)
