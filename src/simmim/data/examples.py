"""Loads a user's own documents with summaries, texts or conversations."""

import os
from typing import Literal

import datasets

from simmim.data.columns import ConversationColumn
from simmim.data.report import RowReport
from simmim.data.table import read_table
from simmim.errors import ConfigError

__all__ = ["load_conversations", "load_examples", "load_texts", "read_examples"]


def load_examples(
    path: str | os.PathLike[str],
    *,
    document: str = "document",
    summary: str = "summary",
    bad_rows: Literal["refuse", "skip"] = "refuse",
    cache_dir: str | os.PathLike[str] | None = None,
) -> datasets.Dataset:
    """Load examples of one's own.

    The rows are written once into a table in the cache, which is then mapped into memory: a file may be larger than
    the memory. A file whose content has changed is read again.

    Args:
        path: JSON lines (`.jsonl`, `.json`, `.ndjson`), CSV with a header (`.csv`, `.tsv`), any of them with `.gz`,
            Parquet (`.parquet`); a folder with the texts `NAME.txt` and `NAME.summary.txt`; or a Hugging Face dataset
            `hf:owner/name[/configuration][:split]`. Texts are UTF-8.
        document: The column with the texts to read.
        summary: The column with the texts to write.
        bad_rows: `refuse` raises where a row is broken; `skip` leaves such rows out and logs how many, why and where.
        cache_dir: The cache; `$SIMMIM_CACHE` or `~/.cache/simmim` where not given.

    Returns:
        The rows, with the columns `document` and `summary`.

    Raises:
        DataError: The source cannot be read, holds no row, or a row is broken (the first is named, all are counted).
        ConfigError: `bad_rows` is neither of its values.
    """
    return read_examples(path, document=document, summary=summary, bad_rows=bad_rows, cache_dir=cache_dir)[0]


def read_examples(
    path: str | os.PathLike[str],
    *,
    document: str = "document",
    summary: str = "summary",
    bad_rows: Literal["refuse", "skip"] = "refuse",
    cache_dir: str | os.PathLike[str] | None = None,
) -> tuple[datasets.Dataset, RowReport]:
    """Load examples as `load_examples` does, and return the report on broken rows beside them."""
    if document == summary:
        raise ConfigError(f"document, summary: expected two columns, got {document!r} for both")
    table, report = read_table(path, [document, summary], bad_rows=bad_rows, cache_dir=cache_dir)
    names = {document: "document", summary: "summary"}
    return table.rename_columns({old: new for old, new in names.items() if old != new}), report


def load_texts(
    path: str | os.PathLike[str],
    *,
    text: str = "text",
    bad_rows: Literal["refuse", "skip"] = "refuse",
    cache_dir: str | os.PathLike[str] | None = None,
) -> datasets.Dataset:
    """Load texts of one's own to learn language from, as `load_examples` loads examples.

    Args:
        path: As of `load_examples`; in a folder every `NAME.txt` is a text.
        text: The column with the texts.
        bad_rows: As of `load_examples`.
        cache_dir: The cache.

    Returns:
        The rows, with the column `text`.

    Raises:
        DataError, ConfigError: As of `load_examples`.
    """
    table, _ = read_table(path, [text], bad_rows=bad_rows, cache_dir=cache_dir)
    return table if text == "text" else table.rename_column(text, "text")


def load_conversations(
    path: str | os.PathLike[str],
    *,
    messages: str = "messages",
    bad_rows: Literal["refuse", "skip"] = "refuse",
    cache_dir: str | os.PathLike[str] | None = None,
) -> datasets.Dataset:
    """Load conversations of one's own, as `load_examples` loads examples.

    Args:
        path: As of `load_examples`, without folders and tables of texts: JSON lines, Parquet, Hugging Face datasets.
        messages: The column with the conversations: lists of messages with `role` (`system`, `user`, `assistant`),
            `content` and, for speakers, `name`, as OpenAI's and transformers' interfaces have them.
        bad_rows: As of `load_examples`.
        cache_dir: The cache.

    Returns:
        The rows, with the column `messages`; `name` is None where a message has none.

    Raises:
        DataError, ConfigError: As of `load_examples`.
    """
    table, _ = read_table(path, [ConversationColumn(messages)], bad_rows=bad_rows, cache_dir=cache_dir)
    return table if messages == "messages" else table.rename_column(messages, "messages")
