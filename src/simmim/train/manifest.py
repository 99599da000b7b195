"""Writes and verifies the manifest of a folder: the size and the SHA-256 of each of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simmim.atomic import replaced_file
from simmim.errors import CheckpointError
from simmim.files import file_digest, read_regular_text

__all__ = ["MANIFEST", "check_manifest", "fault_of", "write_manifest"]

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Write the manifest of a folder whose other files are complete.

    Raises:
        OSError: a file cannot be read, or the manifest cannot be written.
    """
    files = {name: file_digest(folder / name) for name in sorted(_names(folder))}
    with replaced_file(folder / MANIFEST) as stream:
        stream.write(_text(files))


def fault_of(folder: Path, *, hashes: bool = True) -> str:
    """Return why a folder does not match its manifest; empty if it matches.

    Args:
        folder: a folder that `write_manifest` was called for.
        hashes: whether to compare the contents as well as names and sizes.
    """
    if not folder.is_dir():
        return "it is missing" if not folder.is_symlink() and not folder.exists() else "it is no folder"
    try:
        wanted = _read(folder / MANIFEST)
    except FileNotFoundError:
        return f"{MANIFEST} is missing: the folder was not finished, or an earlier version wrote it"
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"{MANIFEST} is damaged"
    try:
        found = _names(folder)
        for name in sorted(wanted.keys() - found):
            return f"{name} is missing"
        for name in sorted(found - wanted.keys()):
            return f"{name} is not in {MANIFEST}"
        for name, (size, digest) in sorted(wanted.items()):
            path = folder / name
            if not path.is_file():
                return f"{name} is no file"
            found_size = path.stat().st_size
            if found_size != size:
                return f"{name} has {found_size:,} bytes, expected {size:,}"
            if hashes and file_digest(path)[1] != digest:
                return f"{name} has been changed: its SHA-256 is another"
    except OSError as error:
        return f"{error.filename or folder} cannot be read: {error.strerror}"
    return ""


def check_manifest(folder: Path, what_to_do: str) -> None:
    """Refuse a folder that does not match its manifest.

    Raises:
        CheckpointError: a file is missing, has been changed, or is not in the manifest.
    """
    fault = fault_of(folder)
    if fault:
        raise CheckpointError(f"{folder} is not whole: {fault}. {what_to_do}")


def _names(folder: Path) -> set[str]:
    """Return the paths of all files and links in a folder, at any depth."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in found} - {MANIFEST}


def _text(files: Mapping[str, tuple[int, str]]) -> str:
    entries = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()}
    return json.dumps({"files": entries}, indent=2) + "\n"


def _read(path: Path) -> dict[str, tuple[int, str]]:
    """Read a manifest, which must equal the output of `write_manifest` byte for byte.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: it differs.
        OSError: it cannot be read.
    """
    text = read_regular_text(path)
    entries: dict[str, dict[str, Any]] = json.loads(text)["files"]
    files = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in entries.items()}
    if _text(files) != text:
        raise ValueError
    return files
