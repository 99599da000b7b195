"""Writes a translation as token ids: the tag of the target language, then the blocks with a mark between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from simmim.errors import ConfigError

__all__ = [
    "BLOCK_MARK",
    "MARK_TOKENS",
    "add_translation_tokens",
    "decode_blocks",
    "encode_blocks",
    "language_tag",
    "languages_of",
]

BLOCK_MARK = "<block>"
"""The token between two blocks."""
MARK_TOKENS = [f"{{{number}}}" for number in range(1, 33)]
_TAG = re.compile(r">>([A-Za-z_-]+)<<")


def language_tag(language: str) -> str:
    """Return the token that asks for a language, such as `>>fr<<`."""
    return f">>{language}<<"


def languages_of(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the languages that a tokenizer has tags for."""
    return sorted(found[1] for token in tokenizer.get_vocab() if (found := _TAG.fullmatch(token)))


def add_translation_tokens(tokenizer: PreTrainedTokenizerBase, languages: Iterable[str]) -> None:
    """Add the tags of languages, the mark between blocks and the marks for markup to a tokenizer, in place."""
    known = tokenizer.get_vocab()
    special = [token for token in (*map(language_tag, sorted(languages)), BLOCK_MARK) if token not in known]
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.add_tokens([token for token in MARK_TOKENS if token not in known])


def encode_blocks(tokenizer: PreTrainedTokenizerBase, blocks: Sequence[str], language: str | None = None) -> list[int]:
    """Return the ids of blocks: `>>fr<<` block `<block>` block `</s>`.

    What looks like a tag or a mark between blocks inside a block is text.

    Args:
        tokenizer: a tokenizer with the tokens of `add_translation_tokens`.
        blocks: the texts.
        language: the language to translate into; None for a translation, which has no tag.

    Raises:
        ConfigError: the tokenizer has no tag for the language.
    """
    ids: list[int] = []
    if language is not None:
        tag = _token_id(tokenizer, language_tag(language))
        if tag is None:
            found = ", ".join(languages_of(tokenizer)) or "none"
            raise ConfigError(f"language: expected one that the model translates into ({found}), got {language!r}")
        ids.append(tag)
    mark = _token_id(tokenizer, BLOCK_MARK)
    assert mark is not None and tokenizer.eos_token_id is not None
    pieces = tokenizer(list(blocks), add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    for index, piece in enumerate(pieces):
        if index:
            ids.append(mark)
        ids += piece
    return [*ids, tokenizer.eos_token_id]


def decode_blocks(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Return the texts between the marks of what a model wrote, up to its end token."""
    mark = _token_id(tokenizer, BLOCK_MARK)
    blocks: list[list[int]] = [[]]
    for index, token in enumerate(ids):
        if token == tokenizer.eos_token_id and index:
            break
        if token == mark:
            blocks.append([])
        else:
            blocks[-1].append(token)
    return [str(tokenizer.decode(block, skip_special_tokens=True)).strip() for block in blocks]


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """Return the id of a token, None where there is none; `get_vocab` would copy the whole vocabulary."""
    found = tokenizer.convert_tokens_to_ids(token)
    return found if isinstance(found, int) and found != tokenizer.unk_token_id else None
