"""Reads and atomically writes the records of a run: JSON and YAML files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from simmim.atomic import replaced_file
from simmim.errors import CheckpointError
from simmim.files import read_regular_text

__all__ = ["read_json", "write_json", "write_yaml"]


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a record; return None if the file is missing.

    Raises:
        CheckpointError: the file cannot be read, or is not a JSON object.
    """
    try:
        found = json.loads(read_regular_text(path))
    except FileNotFoundError:
        if path.is_symlink():
            raise CheckpointError(f"{path}: expected a record of the run, it is a link to nothing") from None
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the record of the run: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the record of the run is damaged, it is no JSON; {_bring_back()}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: the record of the run is damaged, it holds no object; {_bring_back()}")
    return found


def write_json(path: Path, entries: Mapping[str, Any]) -> None:
    """Write a record as JSON.

    Raises:
        OSError: it cannot be written.
    """
    with replaced_file(path) as stream:
        stream.write(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")


def write_yaml(path: Path, entries: Mapping[str, Any]) -> None:
    """Write a record as YAML.

    Raises:
        OSError: it cannot be written.
    """
    with replaced_file(path) as stream:
        yaml.safe_dump(dict(entries), stream, sort_keys=False, allow_unicode=True)


def _bring_back() -> str:
    return "bring it back from a copy (the folder of a finished model has one), or choose another output_dir"
