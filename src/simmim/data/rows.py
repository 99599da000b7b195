"""Reads rows of texts out of files and Hugging Face datasets, one at a time, each with its place."""

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias, cast

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from simmim.data.source_digest import source_digest
from simmim.errors import DataError

__all__ = ["FORMATS", "Row", "open_hub_dataset", "read_dataset", "read_file", "read_folder", "read_texts"]

# A field of a CSV file may be as long as a document: csv's own limit is 128 KiB, and one for the whole process.
_LONGEST_FIELD = 2**31 - 1
_ROWS_AT_A_TIME = 64
_SUMMARY = ".summary.txt"


@dataclass(frozen=True)
class Row:
    """One row as it was found.

    Attributes:
        place: Where it stands in its file, such as `line 7`.
        fields: Its values by column; bytes that are no UTF-8 have become lone surrogates.
        reason: Why it cannot be read, in a few words; empty where it can.
        detail: What was found instead.
    """

    place: str
    fields: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""


Reader: TypeAlias = Callable[[Path, Sequence[str]], Iterator[Row]]


def read_file(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a file, by what its name ends with.

    Args:
        path: A file of one of `FORMATS`.
        columns: The columns that are wanted; others may be left out.

    Yields:
        The rows, in constant memory (beside the longest row).

    Raises:
        DataError: The file cannot be read, or is not of its format as a whole.
    """
    name = path.name.lower()
    reader = next((reader for suffix, reader in _READERS.items() if name.endswith(suffix)), None)
    if reader is None:
        raise DataError(f"{path}: expected a folder, or a file that ends with one of {', '.join(FORMATS)}. Rename it.")
    try:
        yield from reader(path, columns)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: expected a whole gzip file, got a damaged one ({error}). Fetch it again.") from error
    except OSError as error:
        raise DataError(f"{path}: expected a file to read, cannot read it ({error}). Check the path.") from error


def read_folder(folder: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read a folder of texts: the document `NAME.txt` and beside it `NAME.summary.txt`, in folders below as well.

    Args:
        folder: The folder.
        columns: What the document and the summary are called.

    Yields:
        A row for each document, in the order of the names; one that lacks its fellow has a reason.
    """
    texts = {path for path in folder.rglob("*.txt") if path.is_file()}
    for path in sorted(texts):
        if path.name.endswith(_SUMMARY):
            document = path.with_name(path.name.removesuffix(_SUMMARY) + ".txt")
            if document not in texts:
                place = str(path.relative_to(folder))
                yield Row(place, reason="no document beside", detail=f"got no {document.name} beside it")
            continue
        summary, place = path.with_name(path.stem + _SUMMARY), str(path.relative_to(folder))
        if summary in texts:
            values = (_text_of(file.read_bytes()) for file in (path, summary))
            yield Row(place, dict(zip(columns, values, strict=True)))
        else:
            yield Row(place, reason="no summary beside", detail=f"got no {summary.name} beside it")


def read_texts(folder: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read a folder of texts `NAME.txt` that stand for themselves, in folders below as well.

    Args:
        folder: The folder.
        columns: What a text is called, one name.

    Yields:
        A row for each text, in the order of the names.
    """
    [column] = columns
    for path in sorted(path for path in folder.rglob("*.txt") if path.is_file()):
        yield Row(str(path.relative_to(folder)), {column: _text_of(path.read_bytes())})


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

    Args:
        dataset: The dataset.
        columns: The columns that are wanted.
        name: What an error calls the dataset.

    Yields:
        The rows.

    Raises:
        DataError: A column is missing.
    """
    _want_columns(name, dataset.column_names, columns)
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


def _read_json_lines(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    seen = False
    with _binary(path) as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            if not seen and line.lstrip().startswith(b"["):
                raise DataError(
                    f"{path}: expected JSON lines, one object a line, got a JSON array. "
                    f"Rewrite it, for instance with: jq -c '.[]' {path.name}"
                )
            seen = True
            yield _parse_line(line, f"line {number}")


def _parse_line(line: bytes, place: str) -> Row:
    if b"\0" in line:
        return Row(place, reason="NUL character", detail=f"got a NUL byte at offset {line.index(0)} of the line")
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        detail = f"got byte 0x{line[error.start]:02x}, which is no UTF-8, at offset {error.start} of the line"
        return Row(place, reason="not UTF-8", detail=detail)
    except (ValueError, RecursionError) as error:
        return Row(place, reason="not JSON", detail=f"got no valid JSON ({error})")
    if not isinstance(value, dict):
        return Row(place, reason="no object", detail=f"got {type(value).__name__}")
    return Row(place, value)


def _read_separated(path: Path, columns: Sequence[str], separator: str) -> Iterator[Row]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with _text(path) as lines:
            table = csv.reader(lines, delimiter=separator, strict=True)
            header = next(table, None)
            if header is None:
                return
            _want_columns(str(path), header, columns)
            while True:
                place = f"line {table.line_num + 1}"
                try:
                    values = next(table)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Row(
                        place, reason="wrong quoting", detail=f"got a row that cannot be cut into fields ({error})"
                    )
                    continue
                if values and len(values) != len(header):
                    detail = f"got {len(values)} fields where the header has {len(header)}"
                    yield Row(place, reason="wrong number of fields", detail=detail)
                elif values:
                    yield Row(place, dict(zip(header, values, strict=True)))
    finally:
        csv.field_size_limit(before)


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
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
            _want_columns(str(path), table.schema_arrow.names, columns)
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
        return [None if value is None else _text_of(value) for value in column.cast(binary).to_pylist()]
    return [_python(value) for value in column]


def _python(value: pa.Scalar) -> Any:
    """Return a value; of one with bytes that are no UTF-8 within it those, so that it counts as broken."""
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        return _text_of(error.object)


def _want_columns(name: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if list(found).count(column) != 1]
    if missing:
        raise DataError(
            f"{name}: expected the columns {', '.join(wanted)}, each once, got "
            f"{', '.join(map(repr, found)) or 'none'}. "
            f"Say which columns to take instead of {', '.join(missing)}."
        )


def _text_of(content: bytes) -> str:
    return content.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff").replace("\r\n", "\n")


def _binary(path: Path) -> AbstractContextManager[BinaryIO]:
    if path.suffix.lower() == ".gz":
        return cast("AbstractContextManager[BinaryIO]", gzip.open(path))
    return path.open("rb")


def _text(path: Path) -> AbstractContextManager[TextIO]:
    options: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
    if path.suffix.lower() == ".gz":
        return cast("AbstractContextManager[TextIO]", gzip.open(path, "rt", **options))
    return cast("AbstractContextManager[TextIO]", path.open("rt", **options))


def _read_commas(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    return _read_separated(path, columns, ",")


def _read_tabs(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    return _read_separated(path, columns, "\t")


_TEXT_READERS: dict[str, Reader] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".csv": _read_commas,
    ".tsv": _read_tabs,
}
_READERS = {**_TEXT_READERS, **{f"{suffix}.gz": reader for suffix, reader in _TEXT_READERS.items()}}
_READERS[".parquet"] = _read_parquet
FORMATS = tuple(_READERS)
