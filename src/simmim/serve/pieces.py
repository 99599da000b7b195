"""Decodes the tokens of one reply into pieces of text, up to an end token, a stop text or a limit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from transformers import PreTrainedTokenizerBase

from simmim.tasks.streaming import TextStream

__all__ = ["Pieces"]


class Pieces:
    """Follows a reply token by token.

    Text that may begin a stop text waits until the next tokens decide.

    Attributes:
        tokens: number of generated tokens, including the end token.
        reason: why the reply ended, ``stop`` or ``length``; None before its end.
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
        self._stream.put(torch.empty(0))  # the stream skips a prompt; here it is empty
        self._decoded = 0
        self._pending = ""

    reason: str | None

    def put(self, token: int) -> None:
        """Add the next token; tokens after the end are ignored."""
        if self.reason is not None:
            return
        self.tokens += 1
        if token in self._ends:
            self.end("stop")
        else:
            self._stream.put(torch.tensor([token]))

    def end(self, reason: str) -> None:
        """End the reply and write the text that waits."""
        if self.reason is not None:
            return
        self._stream.end()
        # Bytes of an incomplete character are left: decode them as in the whole text.
        whole = self._tokenizer.decode(self._stream.tokens, skip_special_tokens=True)
        assert isinstance(whole, str)
        self._take(whole[self._decoded :])
        if self.reason is None:
            self.reason = reason
            self._write_if_any(self._pending)

    def _take(self, piece: str) -> None:
        self._decoded += len(piece)
        if self.reason is not None:
            return
        self._pending += piece
        found = [start for stop in self._stops if (start := self._pending.find(stop)) >= 0]
        if found:
            self.reason = "stop"
            self._write_if_any(self._pending[: min(found)])
            return
        certain = len(self._pending) - self._partial_stop()
        self._write_if_any(self._pending[:certain])
        self._pending = self._pending[certain:]

    def _partial_stop(self) -> int:
        """Return the number of last characters that may begin a stop text."""
        longest = min(len(self._pending), max(map(len, self._stops), default=1) - 1)
        for size in range(longest, 0, -1):
            if any(stop.startswith(self._pending[-size:]) for stop in self._stops):
                return size
        return 0

    def _write_if_any(self, text: str) -> None:
        if text:
            self._write(text)
