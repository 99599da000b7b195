"""Reads columns of a user's rows into a memory-mapped table in the cache; every broken row is counted."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import datasets
import pyarrow as pa

from simmim.atomic import remove_folder
from simmim.data.cache import cache_folder, made_once
from simmim.data.columns import Column
from simmim.data.report import RowReport
from simmim.data.row_files import read_file, read_folder, read_texts
from simmim.data.rows import Row, open_hub_dataset, read_dataset
from simmim.data.source_digest import check_files, source_digest
from simmim.errors import ConfigError, DataError
from simmim.files import file_digest

__all__ = ["check_rows", "names_column", "read_table", "source_record"]

logger = logging.getLogger(__name__)

HUB = "hf:"
_LAYOUT = 3  # of the folders in the cache: part of their names
_BATCH_ROWS = 1_000
_BATCH_CHARACTERS = 4_000_000


def names_column(path: str | os.PathLike[str], column: str) -> bool:
    """Tell whether the first row of a source, as of `load_examples`, has a column."""
    try:
        first = next(_open(path, [Column(column)]).rows, None)
    except DataError:  # a table without the column; other faults are reported when it is read
        return False
    return first is not None and column in first.fields


def read_table(
    path: str | os.PathLike[str],
    columns: Sequence[str | Column],
    *,
    bad_rows: Literal["refuse", "skip"] = "refuse",
    cache_dir: str | os.PathLike[str] | None = None,
) -> tuple[datasets.Dataset, RowReport]:
    """Load columns; arguments and errors are those of `load_examples`.

    Args:
        path: The source.
        columns: The columns; a name stands for a column of texts that are not blank.
        bad_rows: What to do about broken rows.
        cache_dir: The cache.

    Returns:
        The table, and the report beside it in the cache. `source_record` returns what the table was read from.
    """
    if bad_rows not in ("refuse", "skip"):
        raise ConfigError(f"bad_rows: expected 'refuse' or 'skip', got {bad_rows!r}")
    wanted = [Column(column) if isinstance(column, str) else column for column in columns]
    source = _open(path, wanted, cache_dir)
    content = source.digest()
    state = [_LAYOUT, source.name, content, *((column.holds, column.name) for column in wanted)]
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        report = RowReport(os.fspath(path))
        counted = _Counted(source.rows)  # a dataset of the hub has no file to digest
        rows = counted if isinstance(content, str) else source.rows
        _write(folder / "rows.arrow", _whole(rows, wanted, report), wanted)
        if source.digest() != content:
            raise DataError(f"{report.source}: the source was changed while it was read. Start again.")
        report.bytes, report.sha256 = (counted.bytes, counted.sha256) if isinstance(content, str) else content
        report.table_sha256 = file_digest(folder / "rows.arrow")[1]
        _complain(report, bad_rows)
        report.save(folder / "report.json")

    cached = cache_folder(cache_dir) / "examples" / key
    if cached.exists() and _report_of(cached) is None:
        logger.warning("%s: the cached rows in %s are damaged; the source is read again", source.name, cached)
        remove_folder(cached)
    folder = made_once(cached, make)
    report = RowReport.load(folder / "report.json")
    _complain(report, bad_rows)
    if report.total_broken:
        logger.warning("%s: %s; they are left out (see %s)", report.source, report, folder / "report.json")
    # where datasets keeps it
    read = {report.source: {"num_bytes": report.bytes, "checksum": report.sha256}}
    info = datasets.DatasetInfo(download_checksums=read)
    return datasets.Dataset.from_file(str(folder / "rows.arrow"), info=info), report


def source_record(rows: datasets.Dataset) -> dict[str, Any]:
    """Return `bytes` and `sha256` of the source that rows were read from, as they were then.

    Args:
        rows: What a function of this module returned. Of a Hugging Face dataset it is the rows that are digested, of a
            folder the list of its files with the SHA-256 of each.
    """
    (read,) = (rows.info.download_checksums or {}).values()
    return {"bytes": read["num_bytes"], "sha256": read["checksum"]}


def check_rows(
    path: str | os.PathLike[str], *, columns: Sequence[str | Column] = ("document", "summary"), report: RowReport
) -> Iterator[tuple[Any, ...]]:
    """Read a source from beginning to end without keeping it.

    Yields:
        What the columns hold in each whole row.

    Raises:
        DataError: The source as a whole cannot be read.
    """
    wanted = [Column(column) if isinstance(column, str) else column for column in columns]
    yield from _whole(_open(path, wanted).rows, wanted, report)


@dataclass(frozen=True)
class _Source:
    """A source that has been opened.

    Attributes:
        name: What it is called, with its whole path.
        rows: Its rows, from the first.
        digest: Says what changes when its content does: size and SHA-256, or a dataset's own fingerprint.
    """

    name: str
    rows: Iterator[Row]
    digest: Callable[[], tuple[int, str] | str]


def _open(
    path: str | os.PathLike[str], wanted: Sequence[Column], cache_dir: str | os.PathLike[str] | None = None
) -> _Source:
    name, columns = os.fspath(path), [column.name for column in wanted]
    if name.startswith(HUB):
        dataset = open_hub_dataset(name.removeprefix(HUB), cache_folder(cache_dir) / "datasets")
        return _Source(name, read_dataset(dataset, columns, name), lambda: dataset._fingerprint)
    file = Path(path)
    check_files(file, "*.txt")
    read_all = read_folder if len(columns) > 1 else read_texts
    rows = (read_all if file.is_dir() else read_file)(file, columns)
    return _Source(str(file.absolute()), rows, lambda: source_digest(file))


@dataclass
class _Counted:
    """Passes rows on, and digests them."""

    rows: Iterable[Row]
    bytes: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            line = f"{json.dumps(dict(row.fields), default=repr)}\n".encode()
            self.bytes += len(line)
            self._digest.update(line)
            yield row

    @property
    def sha256(self) -> str:
        """The digest of the rows as JSON lines."""
        return str(self._digest.hexdigest())


def _report_of(folder: Path) -> RowReport | None:
    """Return the report beside cached rows; None if it or they are not as they were written."""
    try:
        report = RowReport.load(folder / "report.json")
        return report if file_digest(folder / "rows.arrow")[1] == report.table_sha256 else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _whole(rows: Iterable[Row], columns: Sequence[Column], report: RowReport) -> Iterator[tuple[Any, ...]]:
    """Pass on the rows that are whole, and count all."""
    expected = _expected(columns)
    for row in rows:
        faults = [("", "")] if row.reason else (column.fault(row.fields) for column in columns)
        reason, detail = next((fault for fault in faults if fault[0]), (row.reason, row.detail))
        if reason:
            report.add_broken(row.position, reason, f"expected an object with {expected}; {detail}.")
        else:
            report.rows += 1
            yield tuple(column.take(row.fields[column.name]) for column in columns)


def _expected(columns: Iterable[Column]) -> str:
    """Say what a row has to have."""
    names: dict[str, list[str]] = {}
    for column in columns:
        names.setdefault(column.holds, []).append(column.name)
    return " and ".join(
        f"the {holds}{'s' if len(found) > 1 else ''} {', '.join(found)}" for holds, found in names.items()
    )


def _complain(report: RowReport, bad_rows: str) -> None:
    if not report.rows and not report.total_broken:
        raise DataError(f"{report.source}: expected at least one row, the file is empty.")
    if report.total_broken and (bad_rows == "refuse" or not report.rows):
        raise DataError(f'{report.first} {report}. Correct them, or leave broken rows out with bad_rows="skip".')


def _write(path: Path, rows: Iterable[tuple[Any, ...]], columns: Sequence[Column]) -> None:
    """Write rows as a stream of Arrow batches, of which one is in memory at a time."""
    schema = pa.schema([(column.name, column.arrow_type) for column in columns])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        batch: list[tuple[Any, ...]] = []
        characters = 0
        for row in rows:
            batch.append(row)
            characters += sum(column.size(value) for column, value in zip(columns, row, strict=True))
            if len(batch) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
                _write_batch(writer, batch, schema)
                batch, characters = [], 0
        _write_batch(writer, batch, schema)


def _write_batch(writer: pa.ipc.RecordBatchStreamWriter, batch: list[tuple[Any, ...]], schema: pa.Schema) -> None:
    if batch:
        arrays = [pa.array(values, field.type) for values, field in zip(zip(*batch, strict=True), schema, strict=True)]
        writer.write_batch(pa.record_batch(arrays, schema))
