"""Reads rows out of files and folders of texts, one at a time, each with its position."""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias, cast

from simmim.data.rows import Row, read_parquet, text_of, want_columns
from simmim.errors import DataError

__all__ = ["FORMATS", "read_file", "read_folder", "read_texts"]

# A field of a CSV file may be as long as a document: csv's own limit is 128 KiB, and one for the whole process.
_LONGEST_FIELD = 2**31 - 1
_SUMMARY = ".summary.txt"

Reader: TypeAlias = Callable[[Path, Sequence[str]], Iterator[Row]]


def read_file(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a file, by what its name ends with.

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

    Yields:
        A row for each document, in the order of the names; one that lacks its fellow has a reason.
    """
    texts = {path for path in folder.rglob("*.txt") if path.is_file()}
    for path in sorted(texts):
        if path.name.endswith(_SUMMARY):
            document = path.with_name(path.name.removesuffix(_SUMMARY) + ".txt")
            if document not in texts:
                position = str(path.relative_to(folder))
                yield Row(position, reason="no document beside", detail=f"got no {document.name} beside it")
            continue
        summary, position = path.with_name(path.stem + _SUMMARY), str(path.relative_to(folder))
        if summary in texts:
            values = (text_of(file.read_bytes()) for file in (path, summary))
            yield Row(position, dict(zip(columns, values, strict=True)))
        else:
            yield Row(position, reason="no summary beside", detail=f"got no {summary.name} beside it")


def read_texts(folder: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read a folder of texts `NAME.txt` that stand for themselves, in folders below as well.

    Yields:
        A row for each text, in the order of the names.
    """
    [column] = columns
    for path in sorted(path for path in folder.rglob("*.txt") if path.is_file()):
        yield Row(str(path.relative_to(folder)), {column: text_of(path.read_bytes())})


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


def _parse_line(line: bytes, position: str) -> Row:
    if b"\0" in line:
        return Row(position, reason="NUL character", detail=f"got a NUL byte at offset {line.index(0)} of the line")
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        detail = f"got byte 0x{line[error.start]:02x}, which is no UTF-8, at offset {error.start} of the line"
        return Row(position, reason="not UTF-8", detail=detail)
    except (ValueError, RecursionError) as error:
        return Row(position, reason="not JSON", detail=f"got no valid JSON ({error})")
    if not isinstance(value, dict):
        return Row(position, reason="no object", detail=f"got {type(value).__name__}")
    return Row(position, value)


def _read_separated(path: Path, columns: Sequence[str], separator: str) -> Iterator[Row]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with _text(path) as lines:
            table = csv.reader(lines, delimiter=separator, strict=True)
            header = next(table, None)
            if header is None:
                return
            want_columns(str(path), header, columns)
            while True:
                position = f"line {table.line_num + 1}"
                try:
                    values = next(table)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Row(
                        position, reason="wrong quoting", detail=f"got a row that cannot be cut into fields ({error})"
                    )
                    continue
                if values and len(values) != len(header):
                    detail = f"got {len(values)} fields where the header has {len(header)}"
                    yield Row(position, reason="wrong number of fields", detail=detail)
                elif values:
                    yield Row(position, dict(zip(header, values, strict=True)))
    finally:
        csv.field_size_limit(before)


def _binary(path: Path) -> AbstractContextManager[BinaryIO]:
    if path.suffix.lower() == ".gz":
        return cast("AbstractContextManager[BinaryIO]", gzip.open(path))
    return path.open("rb")


def _text(path: Path) -> AbstractContextManager[TextIO]:
    options: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
    if path.suffix.lower() == ".gz":
        return cast("AbstractContextManager[TextIO]", gzip.open(path, "rt", **options))
    return cast("AbstractContextManager[TextIO]", path.open("rt", **options))


_TEXT_READERS: dict[str, Reader] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".csv": partial(_read_separated, separator=","),
    ".tsv": partial(_read_separated, separator="\t"),
}
_READERS = {**_TEXT_READERS, **{f"{suffix}.gz": reader for suffix, reader in _TEXT_READERS.items()}}
_READERS[".parquet"] = read_parquet
FORMATS = tuple(_READERS)
