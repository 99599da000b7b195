"""Summarises many documents: reads some, puts those of like length together, and gives out a batch when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simmim.cli.document_worker import DocumentReader
from simmim.cli.documents import Extracted
from simmim.cli.inputs import read_content
from simmim.cli.memory import free_memory
from simmim.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from simmim.tasks.generation import Summary

__all__ = ["Document", "Outcome", "read_documents", "summarize_documents"]

_DOCUMENTS = 256  # that are held at once, or as many as have
_CHARACTERS = 2**23  # characters together
_BATCH = 32  # documents of a batch at most


@dataclass(frozen=True)
class Document:
    """Holds a document that was read, or why it was not.

    Attributes:
        place: its place among the documents of the run.
        name: its file.
        sha256: of its content; None if that cannot be had.
        extracted: its text, or the error.
    """

    place: int
    name: str
    sha256: str | None
    extracted: Extracted | DataError


@dataclass(frozen=True)
class Outcome:
    """Holds a document, and its summary or the error that came instead."""

    document: Document
    summary: Summary | DataError


def read_documents(
    names: Sequence[str], encoding: str | None, is_done: Callable[[str, str | None], bool]
) -> Iterator[Document | None]:
    """Read documents one after the other.

    Args:
        names: their files.
        encoding: as for `simmim.cli.documents.extract`.
        is_done: says of a name and a digest whether that document needs no reading.

    Yields:
        Each document; None for one that is done.
    """
    with DocumentReader() as reader:
        for place, name in enumerate(names):
            sha256 = None
            try:
                content = read_content(name)
                sha256 = content.sha256
                found: Extracted | DataError | None = None
                if not is_done(name, sha256):
                    found = reader.extract(name, content.content, encoding)
            except DataError as error:
                found = None if is_done(name, sha256) else error
            yield None if found is None else Document(place, name, sha256, found)


def summarize_documents(
    documents: Iterator[Document | None],
    load: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]],
    settings: dict[str, Any],
) -> Iterator[list[Outcome | None]]:
    """Summarise documents.

    Args:
        documents: what `read_documents` gives.
        load: loads the model, once there is something to summarise.
        settings: for `generate`.

    Yields:
        The outcomes of each batch; None for documents that were done before.
    """
    window: list[Document] = []
    held = 0
    for document in documents:
        if document is None:
            yield [None]
        elif isinstance(document.extracted, DataError):
            yield [Outcome(document, document.extracted)]
        else:
            window.append(document)
            held += len(document.extracted.text)
        if len(window) == _DOCUMENTS or held > _CHARACTERS:
            yield from _summarize_window(window, load(), settings)
            window, held = [], 0
    if window:
        yield from _summarize_window(window, load(), settings)


def _summarize_window(
    window: list[Document], loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase], settings: dict[str, Any]
) -> Iterator[list[Outcome | None]]:
    from simmim.data.control_tokens import encode_plain_text
    from simmim.tasks.generation import TOKEN_BUDGET, batches

    tokenizer = loaded[1]
    texts = [document.extracted.text for document in window if isinstance(document.extracted, Extracted)]
    ids = encode_plain_text(tokenizer, texts, verbose=False)  # what is too long for a model we say ourselves
    tokens: list[list[int]] = ids["input_ids"]
    for places in batches([len(row) for row in tokens], _BATCH, TOKEN_BUDGET // settings["num_beams"]):
        yield _summarize_batch([window[i] for i in places], [tokens[i] for i in places], loaded, settings)


def _summarize_batch(
    batch: list[Document],
    ids: list[list[int]],
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    settings: dict[str, Any],
) -> list[Outcome | None]:
    """Summarise a batch; where memory does not suffice, its documents one by one, and say of which it does not."""
    from simmim.tasks.generation import write_summaries

    too_long = _refusal(batch[0].name, len(ids[0]), *loaded)  # the longest is the first
    if too_long is not None:
        rest = _summarize_batch(batch[1:], ids[1:], loaded, settings) if batch[1:] else []
        return [Outcome(batch[0], too_long), *rest]
    try:
        written: Sequence[Summary | DataError] = write_summaries(*loaded, ids, **settings)
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        if len(batch) > 1:
            return [
                outcome
                for document, row in zip(batch, ids, strict=True)
                for outcome in _summarize_batch([document], [row], loaded, settings)
            ]
        written = [
            DataError(
                f"{batch[0].name}: expected a document that fits into memory, not enough for {len(ids[0]):,} tokens; "
                "try a machine with more, or a part of the document"
            )
        ]
    return [Outcome(document, summary) for document, summary in zip(batch, written, strict=True)]


def _refusal(name: str, tokens: int, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> DataError | None:
    """Say why a document of so many tokens is not even tried; None if it is."""
    limit = tokenizer.model_max_length
    if tokens > limit:
        return DataError(f"{name}: expected at most {limit:,} tokens, which this model can read, got {tokens:,}")
    # A layer's input, the same normed, queries, keys, values, and what is read with them. A system that has promised
    # more memory than it has does not refuse it, but kills the process, and with it the documents that are to come.
    needed = 6 * tokens * getattr(model.config, "hidden_size", 0) * model.dtype.itemsize / 2**20
    free = free_memory() if model.device.type == "cpu" else None
    if free is None or needed <= free:
        return None
    return DataError(
        f"{name}: expected a document that fits into memory, {tokens:,} tokens need {needed:,.0f} MiB or more and "
        f"{free:,.0f} MiB are free; try a machine with more, or a part of the document"
    )


def _is_lack_of_memory(error: BaseException) -> bool:
    # torch raises a plain RuntimeError on a CPU
    names = ("OutOfMemoryError", "MemoryError")
    return type(error).__name__ in names or "can't allocate memory" in str(error) or "not enough memory" in str(error)
