"""The documents of the app on disk: folders that `simmim read` makes, and what the app keeps beside them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simmim.atomic import remove_folder, replaced_file, replaced_path
from simmim.errors import CheckpointError, DataError
from simmim.files import append_text, open_regular, read_regular_text
from simmim.reading.manifest import Document, Manifest, read_manifest

__all__ = ["Entry", "Shelf"]

_ABOUT, _ORIGINAL, _HISTORY = "about.json", "original", "history.jsonl"
_LONGEST_NAME = 120
_MOST_HISTORY = 500


@dataclass(frozen=True)
class Entry:
    """A document of the shelf.

    Attributes:
        id: names it in addresses.
        folder: what `simmim read` has made or will make of it.
        number: of the document in the folder.
        work: folder of what the app keeps about it.
        name: of its file.
        manifest: of the folder; None before it is read.
        about: what the app has noted; empty for a folder that `simmim read` has made.
        problem: why it cannot be opened; empty if it can.
    """

    id: str
    folder: Path
    number: int
    work: Path
    name: str
    manifest: Manifest | None
    about: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def document(self) -> Document | None:
        """Return what the manifest says of the document; None before its first token is read."""
        if self.manifest is None or self.number >= len(self.manifest.documents):
            return None
        return self.manifest.documents[self.number]

    @property
    def owned(self) -> bool:
        """Whether the app has made the folder, and may remove it."""
        return bool(self.about)

    def original(self) -> bytes:
        """Return the file that was uploaded.

        Raises:
            DataError: it is missing.
        """
        try:
            with open_regular(self.work / _ORIGINAL) as stream:
                return stream.read()
        except OSError as error:
            raise DataError(f"{self.name}: the file that was uploaded is missing; add it again") from error

    def note(self, **values: Any) -> None:
        """Note something about the document.

        Raises:
            OSError: it cannot be written.
        """
        with replaced_file(self.work / _ABOUT) as stream:
            json.dump({**_about(self.work), **values}, stream, ensure_ascii=False)

    def remember(self, record: dict[str, Any]) -> None:
        """Append a record to the history.

        Raises:
            OSError: it cannot be written.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        append_text(self.work / _HISTORY, json.dumps({"time": round(time.time()), **record}, ensure_ascii=False) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """Return the records of the history, the newest last; damaged lines are left out."""
        try:
            lines = read_regular_text(self.work / _HISTORY).splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        return list(_records(lines[-_MOST_HISTORY:]))


class Shelf:
    """The documents of a library.

    Args:
        root: folder of the library; it is made if it is missing.
        opened: further folders that `simmim read` has made.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, root: Path, opened: Sequence[Path] = ()) -> None:
        self.root = root
        self._opened = [path.resolve() for path in opened]
        self._lock = threading.Lock()
        self._manifests: dict[Path, tuple[int, Manifest]] = {}
        root.mkdir(parents=True, exist_ok=True)

    def entries(self) -> list[Entry]:
        """Return all documents, those of the library by their folders' names."""
        found: list[Entry] = []
        if (self.root / "manifest.json").exists():  # a folder of `simmim read` was given as the library
            found += self._entries(self.root, _slug(self.root.name), self.root / ".app")
        for folder in sorted(self.root.iterdir()):
            if folder.is_dir() and not folder.name.startswith(".") and folder.name == _slug(folder.name):
                found += self._entries(folder, folder.name, folder / "app")
        for folder in self._opened:
            name = f"{_slug(folder.name)}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
            found += self._entries(folder, name, self.root / ".opened" / name)
        return found

    def entry(self, name: str) -> Entry | None:
        """Return a document by its id; nothing of the id becomes a path."""
        return next((one for one in self.entries() if one.id == name), None)

    def add(self, name: str, content: bytes) -> Entry:
        """Keep an uploaded file, to be read later; one with the same name and content is kept once.

        Args:
            name: of the file; folders in it are dropped.
            content: of the file.

        Raises:
            OSError: it cannot be written.
        """
        name = clean_name(name)
        identity = f"{_slug(name.rpartition('.')[0] or name)}-{hashlib.sha256(content).hexdigest()[:8]}"
        work = self.root / identity / "app"
        if not (work / _ABOUT).exists():
            with replaced_path(work / _ORIGINAL) as path:
                path.write_bytes(content)
            with replaced_file(work / _ABOUT) as stream:
                json.dump({"name": name, "bytes": len(content), "added": round(time.time())}, stream)
        found = self.entry(identity)
        assert found is not None, "it was just written"
        return found

    def remove(self, entry: Entry) -> None:
        """Remove a document, and all that the app keeps about it.

        Raises:
            DataError: the app has not made its folder.
            OSError: it cannot be removed.
        """
        if entry.owned:
            remove_folder(entry.folder)
        elif entry.folder in self._opened:
            self._opened.remove(entry.folder)
            shutil.rmtree(entry.work.parent if entry.number else entry.work, ignore_errors=True)
        else:
            raise DataError(f"{entry.name}: simmim read has made its folder, {entry.folder}; remove that yourself")

    def _entries(self, folder: Path, name: str, work: Path) -> Iterator[Entry]:
        about = _about(work)
        if not about and not (folder / "manifest.json").exists():
            return
        try:
            manifest = self._manifest(folder)
        except CheckpointError as error:
            yield Entry(name, folder, 0, work, about.get("name", folder.name), None, about, str(error))
            return
        documents = manifest.documents if manifest is not None else []
        if not documents:
            yield Entry(name, folder, 0, work, about.get("name", folder.name), None, about)
        for number, document in enumerate(documents):
            identity, own = (name, work) if number == 0 else (f"{name}~{number}", work / str(number))
            yield Entry(identity, folder, number, own, about.get("name", document.name), manifest, about)

    def _manifest(self, folder: Path) -> Manifest | None:
        path = folder / "manifest.json"
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return None
        with self._lock:
            known = self._manifests.get(folder)
        if known is None or known[0] != changed:
            known = changed, read_manifest(folder)
            with self._lock:
                self._manifests[folder] = known
        return known[1]


def clean_name(name: str) -> str:
    """Return the name of an uploaded file without folders and control characters."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(character for character in last if character.isprintable()).strip()
    if len(shown) > _LONGEST_NAME:  # the end says which format it has
        shown = shown[: _LONGEST_NAME - 20] + shown[-20:]
    return shown.lstrip(".") or "document"


def _slug(name: str) -> str:
    """Return a name of letters, digits and hyphens, which is a folder's name on every system."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-") or "document"


def _about(work: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_regular_text(work / _ABOUT))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("name"), str) else {}


def _records(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and isinstance(found.get("kind"), str):
            yield found
