"""Loads a user's own documents with their summaries into a memory-mapped table; no row gets lost unseen."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import datasets
import pyarrow as pa

from simmim.data.cache import cache_folder, made_once
from simmim.data.report import RowReport
from simmim.data.rows import Row, open_hub_dataset, read_dataset, read_file, read_folder, read_texts
from simmim.errors import ConfigError, DataError

__all__ = ["check_examples", "load_examples", "load_texts", "read_examples", "read_table"]

logger = logging.getLogger(__name__)

HUB = "hf:"
_LAYOUT = 1  # of the folders in the cache: part of their names
_BATCH_ROWS = 1_000
_BATCH_CHARACTERS = 4_000_000


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
    the memory. A changed file is read again.

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
    if bad_rows not in ("refuse", "skip"):
        raise ConfigError(f"bad_rows: expected 'refuse' or 'skip', got {bad_rows!r}")
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
    if bad_rows not in ("refuse", "skip"):
        raise ConfigError(f"bad_rows: expected 'refuse' or 'skip', got {bad_rows!r}")
    table, _ = read_table(path, [text], bad_rows=bad_rows, cache_dir=cache_dir)
    return table if text == "text" else table.rename_column(text, "text")


def read_table(
    path: str | os.PathLike[str],
    columns: Sequence[str],
    *,
    bad_rows: Literal["refuse", "skip"] = "refuse",
    cache_dir: str | os.PathLike[str] | None = None,
) -> tuple[datasets.Dataset, RowReport]:
    """Load columns of texts; arguments and errors are those of `load_examples`.

    Args:
        path: The source.
        columns: The columns, all of them texts that are not blank.
        bad_rows: What to do about broken rows.
        cache_dir: The cache.

    Returns:
        The table, and the report that lies beside it in the cache.
    """
    rows, state = _open(path, columns)
    key = hashlib.sha256(json.dumps([_LAYOUT, state, list(columns)]).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        report = RowReport(os.fspath(path))
        _write(folder / "rows.arrow", _whole(rows, columns, report), columns)
        _complain(report, bad_rows)
        report.save(folder / "report.json")

    folder = made_once(cache_folder(cache_dir) / "examples" / key, make)
    report = RowReport.load(folder / "report.json")
    _complain(report, bad_rows)
    if report.total_broken:
        logger.warning("%s: %s; they are left out (see %s)", report.source, report, folder / "report.json")
    return datasets.Dataset.from_file(str(folder / "rows.arrow")), report


def check_examples(
    path: str | os.PathLike[str], *, columns: Sequence[str] = ("document", "summary"), report: RowReport
) -> Iterator[tuple[str, ...]]:
    """Read a source from beginning to end without keeping it.

    Args:
        path: The source, as in `load_examples`.
        columns: Those with the texts: to read and to write, or one to learn language from.
        report: Gains the counts of whole and broken rows.

    Yields:
        The texts of each whole row.

    Raises:
        DataError: The source as a whole cannot be read.
    """
    rows, _ = _open(path, columns)
    yield from _whole(rows, columns, report)


def _open(path: str | os.PathLike[str], columns: Sequence[str]) -> tuple[Iterator[Row], object]:
    """Return the rows of a source, and what changes when the source does."""
    name = os.fspath(path)
    if name.startswith(HUB):
        dataset = open_hub_dataset(name.removeprefix(HUB))
        return read_dataset(dataset, columns, name), [name, dataset._fingerprint]
    place = Path(path).absolute()
    folder = place.is_dir()
    files = sorted(place.rglob("*.txt")) if folder else [place]
    try:
        state = [[str(file), stat.st_size, stat.st_mtime_ns] for file in files for stat in [file.stat()]]
    except OSError as error:
        raise DataError(f"{name}: expected a file to read, cannot read it ({error}). Check the path.") from error
    read_all = read_folder if len(columns) > 1 else read_texts
    return (read_all if folder else read_file)(Path(path), columns), [str(place), state]


def _whole(rows: Iterable[Row], columns: Sequence[str], report: RowReport) -> Iterator[tuple[str, ...]]:
    """Pass on the rows that are whole, and count all."""
    for row in rows:
        reason, detail = (row.reason, row.detail) if row.reason else _fault(row, columns)
        if reason:
            report.add_broken(row.place, reason, f"expected an object with the texts {', '.join(columns)}; {detail}.")
        else:
            report.rows += 1
            yield tuple(str(row.fields[column]) for column in columns)


def _fault(row: Row, columns: Sequence[str]) -> tuple[str, str]:
    """Return why a row is broken, in a few words and in more; empty where it is not."""
    for column in columns:
        value = row.fields.get(column)
        wanted = f"`{column}` must be a text that is not blank, got"
        if column not in row.fields:
            return "missing field", f"{wanted} no such field (fields: {sorted(map(str, row.fields))})"
        if not isinstance(value, str):
            return "not a text", f"{wanted} {ascii(value)[:60]}"
        if not value.strip():
            return "blank text", f"{wanted} {ascii(value)[:60]}"
        if "\0" in value:
            return "NUL character", f"`{column}` has a NUL character at offset {value.index(chr(0))}"
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            byte = ord(value[error.start]) - 0xDC00  # how a byte that is no UTF-8 was let through
            got = f"byte 0x{byte:02x}, which is no UTF-8," if 0x80 <= byte <= 0xFF else "half a character (a surrogate)"
            return "not UTF-8", f"`{column}` is no valid Unicode: got {got} at offset {error.start}"
    return "", ""


def _complain(report: RowReport, bad_rows: str) -> None:
    if not report.rows and not report.total_broken:
        raise DataError(f"{report.source}: expected at least one row, the file is empty.")
    if report.total_broken and (bad_rows == "refuse" or not report.rows):
        raise DataError(f'{report.first} {report}. Correct them, or leave broken rows out with bad_rows="skip".')


def _write(path: Path, rows: Iterable[tuple[str, ...]], columns: Sequence[str]) -> None:
    """Write rows as a stream of Arrow batches, of which one is in memory at a time."""
    schema = pa.schema([(column, pa.large_string()) for column in columns])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        batch: list[tuple[str, ...]] = []
        characters = 0
        for row in rows:
            batch.append(row)
            characters += sum(map(len, row))
            if len(batch) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
                _write_batch(writer, batch, schema)
                batch, characters = [], 0
        _write_batch(writer, batch, schema)


def _write_batch(writer: pa.ipc.RecordBatchStreamWriter, batch: list[tuple[str, ...]], schema: pa.Schema) -> None:
    if batch:
        writer.write_batch(
            pa.record_batch([pa.array(values, pa.large_string()) for values in zip(*batch, strict=True)], schema)
        )
