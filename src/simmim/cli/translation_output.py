"""Decides where translated documents go, and remembers in their folder which are done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simmim.atomic import make_parents, replaced_path
from simmim.errors import ConfigError, DataError
from simmim.files import append_text

__all__ = ["Ledger", "output_paths", "write_document"]

_LEDGER = ".simmim-translations.jsonl"


def output_paths(names: Sequence[str], inputs: Sequence[str], output: Path | None, language: str) -> dict[str, Path]:
    """Return where the translation of each document goes.

    Args:
        names: the documents.
        inputs: the arguments that they come from: of a folder the tree below it is kept.
        output: a folder, or a file for one document; None writes beside each document, its language in the name.
        language: the language that is written.

    Raises:
        ConfigError: two documents would be written to the same file, or one file is named for several.
    """
    if output is None:
        return {name: Path(name).with_suffix(f".{language}{Path(name).suffix}") for name in names}
    if not output.is_dir() and output.suffix:
        if len(names) > 1:
            raise ConfigError(f"--output: expected a folder for {len(names):,} documents, got the file {output}")
        return dict.fromkeys(names, output)
    folders = [Path(argument) for argument in inputs if Path(argument).is_dir()]
    paths: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for name in names:
        base = next((folder for folder in folders if folder in Path(name).parents or str(folder) == "."), None)
        relative = Path(os.path.relpath(name, base)) if base is not None else Path(Path(name).name)
        paths[name] = output / relative
        if taken.setdefault(paths[name], name) != name:
            raise ConfigError(
                f"--output: expected documents of different names, {taken[paths[name]]} and {name} would both become "
                f"{paths[name]}; translate them into two folders"
            )
    return paths


def write_document(path: Path, content: bytes) -> None:
    """Write a file to a temporary path and rename it."""
    make_parents(path)
    with replaced_path(path) as draft:
        draft.write_bytes(content)


class Ledger:
    """Remembers which documents of a folder are translated, from which content and with which settings.

    Args:
        folder: where translations go; None remembers nothing.
        settings: what a translation depends on beside the document.
        overwrite: forget what was done.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any], overwrite: bool) -> None:
        self._path = None if folder is None else folder / _LEDGER
        self._settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._done: dict[str, dict[str, Any]] = {}
        if self._path is not None and self._path.is_file() and not overwrite:
            for line in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self._done[entry["output"]] = entry
                except (ValueError, KeyError, TypeError):  # a line that was cut off when the command was stopped
                    continue

    def holds(self, output: Path, sha256: str) -> bool:
        """Tell whether a document was translated as it would be now, and the translation is still there."""
        entry = self._done.get(str(output), {})
        same = entry.get("sha256") == sha256 and entry.get("settings") == self._settings
        return same and output.is_file()

    def knows(self, output: Path) -> bool:
        """Tell whether a file was written by an earlier run."""
        return str(output) in self._done

    def add(self, output: Path, sha256: str) -> None:
        """Remember a translation that was written."""
        if self._path is None:
            return
        entry = {"output": str(output), "sha256": sha256, "settings": self._settings}
        self._done[str(output)] = entry
        try:
            append_text(self._path, json.dumps(entry) + "\n")
        except OSError as error:
            raise DataError(f"{self._path}: cannot write: {error.strerror}; free some space and run again") from error
