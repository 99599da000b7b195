"""Rows of a user's data, and the readers of Hugging Face datasets and Parquet files."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from simmim.data.source_digest import source_digest
from simmim.errors import DataError

__all__ = ["Row", "open_hub_dataset", "read_dataset", "read_parquet", "text_of", "want_columns"]

_ROWS_AT_A_TIME = 64


@dataclass(frozen=True)
class Row:
    """One row as it was found.

    Attributes:
        position: Where it is in its file, such as `line 7`.
        fields: Its values by column; bytes that are no UTF-8 have become lone surrogates.
        reason: Why it cannot be read, in a few words; empty where it can.
        detail: What was found instead.
    """

    position: str
    fields: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""


def open_hub_dataset(name: str, cache: Path) -> datasets.Dataset:
    """Open a split of a Hugging Face dataset.

    Args:
        cache: Where a local folder is prepared, by its content: `datasets` itself goes by sizes and times.
        name: `owner/name[/configuration][:split]`, or a local folder in place of the name; the split is `train`
            where not given.

    Returns:
        The split, as `datasets.load_dataset` gives it.

    Raises:
        DataError: The dataset cannot be loaded, or has no such split.
    """
    path, _, split = name.partition(":")
    configuration = None
    if not Path(path).exists() and path.count("/") == 2:
        path, _, configuration = path.rpartition("/")
    cache_dir, fingerprint = None, None
    if Path(path).exists():
        fingerprint = source_digest(Path(path), "*")[1]
        cache_dir = str(cache / fingerprint[:32])
    try:
        found = datasets.load_dataset(path, configuration, split=split or "train", cache_dir=cache_dir)
        if fingerprint is not None:
            if source_digest(Path(path), "*")[1] != fingerprint:
                raise ValueError("the folder was changed while it was read")
            found._fingerprint = hashlib.sha256(f"{fingerprint} {split}".encode()).hexdigest()[:16]
        return found
    except Exception as error:  # datasets documents no common base
        raise DataError(
            f"hf:{name}: expected a Hugging Face dataset that can be loaded (hf:owner/name[/configuration][:split]), "
            f"got {type(error).__name__}: {error}. Check the name, the split and the network."
        ) from error


def read_dataset(dataset: datasets.Dataset, columns: Sequence[str], name: str) -> Iterator[Row]:
    """Read the rows of a Hugging Face dataset.

    Yields:
        The rows.

    Raises:
        DataError: A column is missing.
    """
    want_columns(name, dataset.column_names, columns)
    for start in range(0, len(dataset), _ROWS_AT_A_TIME):
        rows = range(start, min(start + _ROWS_AT_A_TIME, len(dataset)))
        values = [_dataset_values(dataset.select_columns([column]).select(rows), column) for column in columns]
        for number, row in enumerate(zip(*values, strict=True), start=start + 1):
            yield Row(f"row {number}", dict(zip(columns, row, strict=True)))


def _dataset_values(rows: datasets.Dataset, column: str) -> list[Any]:
    """Return the values of a column: texts by way of bytes, the rest as `datasets` decodes it."""
    if getattr(rows.features[column], "dtype", None) not in ("string", "large_string"):
        try:
            return list(rows[column])
        except UnicodeDecodeError:  # within a value; the row counts as broken below
            pass
    return _values(rows.with_format("arrow")[:].column(column).combine_chunks())


def read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a Parquet file, as `read_file` does."""
    with path.open("rb") as stream:  # what is missing or may not be read is no damage
        number = 0
        for batch in _parquet_batches(path, stream, columns):
            for row in zip(*batch, strict=True):
                number += 1
                yield Row(f"row {number}", dict(zip(columns, row, strict=True)))


def _parquet_batches(path: Path, stream: BinaryIO, columns: Sequence[str]) -> Iterator[list[list[Any]]]:
    """Give the columns of some rows at a time; whatever fails in a file that is open is damage to it."""
    try:
        with pq.ParquetFile(stream) as table:
            want_columns(str(path), table.schema_arrow.names, columns)
            for batch in table.iter_batches(_ROWS_AT_A_TIME, columns=list(columns)):
                yield [_values(batch.column(column)) for column in columns]
    except DataError:
        raise
    except Exception as error:  # pyarrow raises OSError, MemoryError, ValueError and its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: expected a Parquet file, got a damaged one ({reason}). Fetch it again.") from error


def _values(column: pa.Array) -> list[Any]:
    """Return the values of a column; texts come by way of bytes, as a file may lie about their encoding."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        binary = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
        return [None if value is None else text_of(value) for value in column.cast(binary).to_pylist()]
    return [_python(value) for value in column]


def _python(value: pa.Scalar) -> Any:
    """Return a value; of one with bytes that are no UTF-8 within it those, so that it counts as broken."""
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        return text_of(error.object)


def want_columns(name: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuse a table that lacks a column, or has it twice."""
    missing = [column for column in wanted if list(found).count(column) != 1]
    if missing:
        raise DataError(
            f"{name}: expected the columns {', '.join(wanted)}, each once, got "
            f"{', '.join(map(repr, found)) or 'none'}. "
            f"Say which columns to take instead of {', '.join(missing)}."
        )


def text_of(content: bytes) -> str:
    """Decode UTF-8; other bytes become lone surrogates, by which a row counts as broken."""
    return content.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff").replace("\r\n", "\n")
