"""Keeps results in a file of JSON lines, each batch safe on disk before the next, so that a run can be resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Self

from simmim.atomic import make_parents, remove_empty, replaced_file
from simmim.errors import ConfigError, DataError
from simmim.terminal import steers_terminal

__all__ = ["ResultsFile", "ResultsFolder", "is_folder", "json_line", "open_results"]

Record = dict[str, Any]


def json_line(record: Record) -> bytes:
    """Return a record as a line of UTF-8; what that cannot hold, or what would steer a terminal, is escaped."""
    line = json.dumps(record, ensure_ascii=False)
    if not line.isprintable():
        line = "".join(json.dumps(one)[1:-1] if steers_terminal(one) else one for one in line)
    return (line + "\n").encode()


def is_folder(output: Path) -> bool:
    """Return whether a name stands for a folder of results: it is one, or has no ending and does not exist."""
    return output.is_dir() or not (output.suffix or output.exists())


class ResultsFile:
    """A file with a line for each document, to which finished documents are added.

    A line holds `name` and `sha256` of a document, the `settings` that it was read and summarized with, and either its
    result or `error`. A last line that a broken run left unfinished is cut off, and its document done again.

    Raises:
        ConfigError: the file holds results of other settings, or is no file.
        DataError: it holds something else.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, settings: dict[str, Any], overwrite: bool = False) -> None:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: expected a file for results, or the name of a new one")
        self.path, self.settings = path, settings
        self._new = not path.exists()
        self._last: dict[str, Record] = {}
        self._superseded = False
        self._whole = 0  # bytes that end with a whole line
        if not self._new and not overwrite:
            self._read()
        flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._made = make_parents(path)
        try:
            self._handle = os.open(path, flags, 0o666)
        except OSError as error:
            remove_empty(self._made)
            raise OSError(error.errno, f"cannot write here: {error.strerror}", str(path)) from error
        if overwrite:
            os.ftruncate(self._handle, 0)
        elif not self._new:
            os.ftruncate(self._handle, self._whole)

    def _read(self) -> None:
        """Read what earlier runs have finished; a line without its end was never finished."""
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    if number == 1 and not b'{"name": '.startswith(line[:9]):
                        raise DataError(_foreign(self.path, number))
                    break
                self._whole += len(line)
                try:
                    record = json.loads(line)
                    name, of = record["name"], record["settings"]
                    kept = {"sha256": record["sha256"], "error": record.get("error")}
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(_foreign(self.path, number)) from error
                self._check_settings(of)
                self._superseded |= name in self._last
                self._last[name] = kept

    def _check_settings(self, found: dict[str, Any]) -> None:
        for key in {**found, **self.settings}:
            old, new = found.get(key), self.settings.get(key)
            if old != new:
                raise ConfigError(
                    f"{self.path}: holds results with {key}={old}, this run has {key}={new}; use the same settings, "
                    "name another --output, or begin again with --overwrite"
                )

    def holds(self, name: str, sha256: str | None) -> bool:
        """Return whether a document of this name and content is done."""
        return name in self._last and self._last[name]["sha256"] == sha256

    def error(self, name: str) -> str | None:
        """Return the error that is recorded for a document, if there is one."""
        found: str | None = self._last[name]["error"]
        return found

    def add(self, records: Sequence[Record]) -> None:
        """Add the records of finished documents and see them to the disk.

        Raises:
            OSError: they cannot be written, for instance on a full disk; then none of them is in the file.
        """
        if not records:
            return
        rest = b"".join(json_line({**record, "settings": self.settings}) for record in records)
        whole = os.fstat(self._handle).st_size
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
            os.fsync(self._handle)
        except OSError as error:
            os.ftruncate(self._handle, whole)
            raise _unwritten(self.path, error) from error
        for record in records:
            self._superseded |= record["name"] in self._last
            self._last[record["name"]] = {"sha256": record["sha256"], "error": record.get("error")}

    def close(self) -> None:
        """Close the file; drop lines of documents that have changed since, or the file if it was made for nothing."""
        empty = os.fstat(self._handle).st_size == 0
        os.close(self._handle)
        if empty and self._new:
            self.path.unlink()
            remove_empty(self._made)
        elif self._superseded:
            self._drop_superseded()

    def _drop_superseded(self) -> None:
        lines = self.path.read_bytes().splitlines(keepends=True)
        last = {json.loads(line)["name"]: number for number, line in enumerate(lines)}
        with replaced_file(self.path) as stream:
            stream.writelines(lines[number].decode() for number in sorted(last.values()))
            stream.flush()
            os.fsync(stream.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ResultsFolder(ResultsFile):
    """A folder with the summary of each document in a text file of its own, beside the file `results.jsonl`.

    Raises:
        ConfigError: two documents would get the same file; and as for `ResultsFile`.
    """

    def __init__(self, path: Path, settings: dict[str, Any], overwrite: bool, names: Sequence[str]) -> None:
        self.folder = path
        targets: dict[Path, str] = {}
        for name in names:
            other = targets.setdefault(self._target(name), name)
            if other != name:
                raise ConfigError(f"{path}: {other} and {name} would get one file; summarize them into two folders")
        super().__init__(path / "results.jsonl", settings, overwrite)

    def _target(self, name: str) -> Path:
        path = PurePath(name)
        parts = [part for part in path.parts if part not in (path.anchor, "..")]
        return self.folder.joinpath(*parts[:-1], f"{parts[-1] if name != '-' else 'standard-input'}.summary.txt")

    def add(self, records: Sequence[Record]) -> None:
        """Write the texts, and then the records, so that a record stands for a text that is there."""
        for record in records:
            if "summary" in record:
                target = self._target(record["name"])
                cut = "" if record["complete"] else f"[stopped at {self.settings['max_new_tokens']} tokens]\n"
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with replaced_file(target) as stream:
                        stream.write(f"{record['summary']}\n{cut}")
                except OSError as error:
                    raise _unwritten(target, error) from error
        super().add(records)


def open_results(output: Path, settings: dict[str, Any], overwrite: bool, names: Sequence[str]) -> ResultsFile:
    """Open the file or folder that a name stands for; errors as of these."""
    if is_folder(output):
        return ResultsFolder(output, settings, overwrite, names)
    return ResultsFile(output, settings, overwrite)


def _unwritten(path: Path, error: OSError) -> OSError:
    why = os.strerror(error.errno) if error.errno else str(error)
    reason = f"cannot write: {why}; what was finished is saved: mend this and run the command again"
    return OSError(error.errno, reason, str(path))


def _foreign(path: Path, number: int) -> str:
    return (
        f"{path}, line {number}: expected results of simmim summarize, got something else; "
        "name another --output, or begin again with --overwrite"
    )
