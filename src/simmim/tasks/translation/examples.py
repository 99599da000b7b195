"""Makes examples to learn translation from: blocks alone, and with those that follow them on the page."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Iterable, Iterator, Sequence

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from simmim.tasks.translation.pages import Page
from simmim.tasks.translation.vocabulary import encode_blocks

__all__ = ["tokenize_pages", "windows"]

logger = logging.getLogger(__name__)

_ALONE = 0.5  # the share of examples that are one block
_MOST_BLOCKS = 16
_WINDOW_CHARACTERS = 1200  # of the source of several blocks together; one block may be longer


def windows(page: Page, seed: int) -> Iterator[tuple[int, int]]:
    """Cut the blocks of a page into examples: half of them one block, the others up to 16 that follow each other.

    Each block is in one example. The cut depends on nothing but the page and the seed.

    Args:
        page: the page.
        seed: another one gives another cut.

    Yields:
        The first block of each example, and the one behind its last.
    """
    text = "\0".join([str(seed), page.source_language, page.target_language, *page.source])
    chance = random.Random(hashlib.sha256(text.encode()).digest())
    start = 0
    while start < len(page.source):
        wanted = 1 if chance.random() < _ALONE else chance.randint(2, _MOST_BLOCKS)
        end, characters = start + 1, len(page.source[start])
        while end < min(start + wanted, len(page.source)) and characters + len(page.source[end]) <= _WINDOW_CHARACTERS:
            characters += len(page.source[end])
            end += 1
        yield start, end
        start = end


def tokenize_pages(
    pages: Iterable[Page],
    tokenizer: PreTrainedTokenizerBase,
    directions: Sequence[str],
    *,
    seed: int,
    max_source_tokens: int | None = None,
    max_target_tokens: int | None = None,
) -> Dataset:
    """Turn pages into examples as token ids.

    Args:
        pages: the pages.
        tokenizer: as of `encode_blocks`.
        directions: such as `en-fr`; a page is read in each of them that it has the languages of.
        seed: as of `windows`.
        max_source_tokens: an example with more tokens to read is left out; how many are is logged. None keeps all.
        max_target_tokens: the same of the tokens to write.

    Returns:
        The columns `input_ids`, `labels` and `length` (tokens in `input_ids`).
    """
    rows: dict[str, list[object]] = {"input_ids": [], "labels": [], "length": []}
    left_out = 0
    for page in pages:
        for source_language, target_language, source, target in _read(page, directions):
            turned = Page(source_language, target_language, source, target)
            for start, end in windows(turned, seed):
                ids = encode_blocks(tokenizer, source[start:end], target_language)
                labels = encode_blocks(tokenizer, target[start:end])
                if len(ids) > (max_source_tokens or len(ids)) or len(labels) > (max_target_tokens or len(labels)):
                    left_out += 1
                    continue
                rows["input_ids"].append(ids)
                rows["labels"].append(labels)
                rows["length"].append(len(ids))
    if left_out:
        logger.warning("%d examples are longer than the recipe allows and are left out", left_out)
    return Dataset.from_dict(rows)


def _read(page: Page, directions: Sequence[str]) -> Iterator[tuple[str, str, Sequence[str], Sequence[str]]]:
    languages = page.source_language, page.target_language
    if "-".join(languages) in directions:
        yield *languages, page.source, page.target
    if "-".join(reversed(languages)) in directions:
        yield page.target_language, page.source_language, page.target, page.source
