"""The tokens of a document, where each stands in the text, and the segments that they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from simmim.data.control_tokens import encode_plain_text
from simmim.errors import ConfigError, DataError

__all__ = ["Tokens", "tokenize"]


@dataclass(frozen=True)
class Tokens:
    """Tokens with their positions in the text.

    Attributes:
        ids: int32, [N]; first those of the prompt before the document.
        starts: index of each token's first character, int32, [N]; 0 for the prompt's.
        prompt: how many tokens are the prompt's.
    """

    ids: np.ndarray
    starts: np.ndarray
    prompt: int

    def span(self, begin: int, end: int, characters: int) -> tuple[int, int]:
        """Return the characters that tokens `begin` to `end` cover, of a text with so many characters."""
        begin = max(begin, self.prompt)
        last = int(self.starts[end]) if end < len(self.ids) else characters
        return (int(self.starts[begin]) if begin < len(self.ids) else characters), max(last, 0)


def tokenize(tokenizer: PreTrainedTokenizerBase, prompt: list[int], text: str) -> Tokens:
    """Encode a document; control tokens in it are plain characters.

    Args:
        tokenizer: a fast one, which knows where its tokens stand.
        prompt: tokens before the document.
        text: the document.

    Raises:
        ConfigError: the tokenizer is not a fast one.
        DataError: the text is not valid Unicode or holds no token.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigError("tokenizer: expected a fast one, which knows where its tokens stand in the text")
    encoded = encode_plain_text(
        tokenizer,
        [text],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    ids = encoded["input_ids"][0]
    if not ids:
        raise DataError("text: expected a document with at least one token, got none")
    starts = [start for start, _ in encoded["offset_mapping"][0]]
    return Tokens(
        np.asarray([*prompt, *ids], dtype=np.int32), np.asarray([0] * len(prompt) + starts, dtype=np.int32), len(prompt)
    )
