"""Lets a model write the summaries of documents, in batches of like length."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Summary", "summaries"]


@dataclass(frozen=True)
class Summary:
    """Holds what a model wrote about a document.

    Attributes:
        text: the summary.
        source_tokens: tokens of the document, all of which the model read.
        complete: whether the model ended the summary itself, before the limit on new tokens.
        seconds: how long its batch took.
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
    beams: int,
    max_new_tokens: int,
    batch_size: int = 1,
) -> Iterator[tuple[int, Summary]]:
    """Write a summary of each document, the longest first.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        documents: the texts, read in full.
        beams: width of the beam search; 1 is greedy.
        max_new_tokens: where a summary ends at the latest.
        batch_size: documents at a time.

    Yields:
        The place of a document among `documents`, and its summary.
    """
    ids = [tokenizer(document)["input_ids"] for document in documents]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True)
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        began = time.perf_counter()
        inputs = tokenizer.pad({"input_ids": [ids[i] for i in places]}, return_tensors="pt").to(model.device)
        rows = _generate(model, inputs, num_beams=beams, max_new_tokens=max_new_tokens)
        texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
        seconds = time.perf_counter() - began
        for i, row, text in zip(places, rows, texts, strict=True):
            complete = tokenizer.eos_token_id in row[1:]
            yield i, Summary(text.strip(), len(ids[i]), complete, seconds)


@torch.inference_mode()
def _generate(model: PreTrainedModel, inputs: Any, **settings: Any) -> list[list[int]]:
    """Return the token ids of each row, the start token included."""
    generate: Any = model.generate  # PreTrainedModel does not declare it
    rows: list[list[int]] = generate(**inputs, do_sample=False, **settings).tolist()
    return rows
