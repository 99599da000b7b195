"""Lets a model write the summaries of documents: the one path of the commands, of evaluation and of the pipeline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.generic import ModelOutput

from simmim.data.control_tokens import encode_plain_text
from simmim.errors import DataError
from simmim.tasks.batches import TOKEN_BUDGET, batches
from simmim.tasks.process_memory import free_memory

__all__ = ["Summary", "decoded", "refusal", "summaries", "summarize_batches", "write_rows", "write_summaries"]


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
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[str], **settings: Any
) -> Iterator[tuple[int, Summary]]:
    """Write a summary of each document, the longest first.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        documents: the texts, read in full.
        **settings: as of `summarize_batches`.

    Yields:
        The index of a document among `documents`, and its summary.

    Raises:
        DataError: a document does not fit into memory.
    """
    for batch in summarize_batches(model, tokenizer, documents, **settings):
        for index, summary in batch:
            if isinstance(summary, DataError):
                raise DataError(f"document {index + 1}: {summary}")
            yield index, summary


def summarize_batches(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    *,
    num_beams: int,
    max_new_tokens: int,
    batch_size: int = 1,
    limit: int | None = None,
    **settings: Any,
) -> Iterator[list[tuple[int, Summary | DataError]]]:
    """Write a summary of each document, batch by batch; one that cannot be read does not stop the others.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        documents: the texts, read in full.
        num_beams: width of the beam search; 1 is greedy.
        max_new_tokens: where a summary ends at the latest.
        batch_size: documents at a time at most; of long ones fewer, so that all beams hold `TOKEN_BUDGET` tokens.
        limit: a document of more tokens is refused; None refuses none.
        **settings: others of `generate` of transformers.

    Yields:
        Of each batch the indices of its documents among `documents`, with the summary or the error that came instead.
    """
    settings = {"do_sample": False, "num_beams": num_beams, "max_new_tokens": max_new_tokens, **settings}
    encoded = encode_plain_text(tokenizer, documents, verbose=limit is None)  # with a limit we refuse in our own words
    ids: list[list[int]] = encoded["input_ids"]
    for indices in batches([len(document) for document in ids], batch_size, TOKEN_BUDGET // num_beams):
        found = _summarize(model, tokenizer, [ids[index] for index in indices], limit, settings)
        yield list(zip(indices, found, strict=True))


def _summarize(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[list[int]],
    limit: int | None,
    settings: dict[str, Any],
) -> list[Summary | DataError]:
    """Summarize a batch, longest first; where memory does not suffice, its documents one by one."""
    if (refused := refusal(len(ids[0]), limit) or _does_not_fit(len(ids[0]), model)) is not None:
        return [refused, *(_summarize(model, tokenizer, ids[1:], limit, settings) if ids[1:] else [])]
    try:
        return [*write_summaries(model, tokenizer, ids, **settings)]
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
    if len(ids) > 1:
        return [one for document in ids for one in _summarize(model, tokenizer, [document], limit, settings)]
    return [
        DataError(
            f"expected a document that fits into memory, not enough for {len(ids[0]):,} tokens; "
            "try a machine with more, or a part of the document"
        )
    ]


def refusal(tokens: int, limit: int | None) -> DataError | None:
    """Say why a model does not read a document of so many tokens; None if it does."""
    if limit is None or tokens <= limit:
        return None
    return DataError(f"expected at most {limit:,} tokens, which this model can read, got {tokens:,}")


def _does_not_fit(tokens: int, model: PreTrainedModel) -> DataError | None:
    # A layer's input, the same normed, queries, keys, values, and what is read with them. A system that has promised
    # more memory than it has does not refuse it, but kills the process, and with it the documents that are to come.
    needed = 6 * tokens * getattr(model.config, "hidden_size", 0) * model.dtype.itemsize / 2**20
    free = free_memory() if model.device.type == "cpu" else None
    if free is None or needed <= free:
        return None
    return DataError(
        f"expected a document that fits into memory, {tokens:,} tokens need {needed:,.0f} MiB or more and "
        f"{free:,.0f} MiB are free; try a machine with more, or a part of the document"
    )


def _is_lack_of_memory(error: BaseException) -> bool:
    # torch raises a plain RuntimeError on a CPU
    names = ("OutOfMemoryError", "MemoryError")
    return type(error).__name__ in names or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def write_summaries(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: list[list[int]], **settings: Any
) -> list[Summary]:
    """Write the summaries of one batch.

    Returns:
        A summary of each document, in their order.
    """
    began = time.perf_counter()
    inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
    rows = write_rows(model, inputs, **settings)[:, 0].tolist()
    found = [decoded(tokenizer, [row], len(document))[0] for row, document in zip(rows, ids, strict=True)]
    seconds = (time.perf_counter() - began) / len(ids)
    return [Summary(one.text, one.source_tokens, one.complete, seconds) for one in found]


@torch.inference_mode()
def write_rows(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], **settings: Any) -> torch.Tensor:
    """Return the tokens that a model writes about documents: those of each, of each of its summaries."""
    generate: Any = model.generate  # PreTrainedModel does not declare it
    rows = generate(**inputs, **settings)
    rows = rows["sequences"] if isinstance(rows, ModelOutput) else rows
    return rows.unflatten(0, (len(inputs["input_ids"]), -1))


def decoded(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]], source_tokens: int) -> list[Summary]:
    """Return the summaries that a model wrote about one document, from their tokens."""
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    # the first token is the start token, which some models have the end token for
    ended = [tokenizer.eos_token_id in row[1:] for row in rows]
    return [Summary(text.strip(), source_tokens, end, 0.0) for text, end in zip(texts, ended, strict=True)]
