"""Lets a model write the summaries of documents, in batches of like length."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.control_tokens import encode_plain_text

__all__ = ["TOKEN_BUDGET", "Summary", "batches", "is_complete", "summaries", "write_summaries"]

TOKEN_BUDGET = 16_384
"""Tokens of a batch at most, padding and beams included; a longer document is alone."""


@dataclass(frozen=True)
class Summary:
    """Holds what a model wrote about a document.

    Attributes:
        text: the summary.
        source_tokens: tokens of the document, all of which the model read.
        complete: whether the model ended the summary itself, before the limit on new tokens.
        seconds: its share of the time that its batch took.
    """

    text: str
    source_tokens: int
    complete: bool
    seconds: float


def summaries(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    *,
    num_beams: int,
    max_new_tokens: int,
    batch_size: int = 1,
) -> Iterator[tuple[int, Summary]]:
    """Write a summary of each document, the longest first.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        documents: the texts, read in full.
        num_beams: width of the beam search; 1 is greedy.
        max_new_tokens: where a summary ends at the latest.
        batch_size: documents at a time at most; of long ones fewer, so that all beams hold `TOKEN_BUDGET` tokens.

    Yields:
        The index of a document among `documents`, and its summary.
    """
    ids = [encode_plain_text(tokenizer, [document])["input_ids"][0] for document in documents]
    settings = {"do_sample": False, "num_beams": num_beams, "max_new_tokens": max_new_tokens}
    for indices in batches([len(document) for document in ids], batch_size, TOKEN_BUDGET // num_beams):
        written = write_summaries(model, tokenizer, [ids[index] for index in indices], **settings)
        yield from zip(indices, written, strict=True)


def batches(lengths: Sequence[int], batch_size: int, token_budget: int) -> Iterator[list[int]]:
    """Put documents of like length together, the longest first, so that what needs most memory is tried first.

    Args:
        lengths: tokens of each document.
        batch_size: documents of a batch at most.
        token_budget: tokens of a batch at most, padding included; one document alone may have more.

    Yields:
        The indices of a batch's documents among `lengths`.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)
    while order:
        size = min(batch_size, max(1, token_budget // max(1, lengths[order[0]])))
        yield order[:size]
        order = order[size:]


@torch.inference_mode()
def write_summaries(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: list[list[int]], **settings: Any
) -> list[Summary]:
    """Write the summaries of one batch.

    Returns:
        A summary of each document, in their order.
    """
    began = time.perf_counter()
    inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
    generate: Any = model.generate  # PreTrainedModel does not declare it
    rows: list[list[int]] = generate(**inputs, **settings).tolist()
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    seconds = (time.perf_counter() - began) / len(ids)
    return [
        Summary(text.strip(), len(document), is_complete(tokenizer, row), seconds)
        for document, row, text in zip(ids, rows, texts, strict=True)
    ]


def is_complete(tokenizer: PreTrainedTokenizerBase, row: Sequence[int]) -> bool:
    """Return whether a model ended what it wrote itself.

    Args:
        tokenizer: its tokenizer.
        row: the tokens, the start token (which some models have the end token for) included.
    """
    return tokenizer.eos_token_id in row[1:]
