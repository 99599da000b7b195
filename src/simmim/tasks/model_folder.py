"""Checks the files of a saved model before any library opens them: type, location, size and settings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from safetensors import SafetensorError, safe_open

from simmim.errors import CheckpointError
from simmim.files import open_regular, read_regular_text

__all__ = ["check_files", "count_weights", "read_settings"]

_READ = (".json", ".jinja", ".safetensors", ".model", ".txt", ".tiktoken")
_TEMPLATES = "additional_chat_templates"
_SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
_INDEX, _WEIGHTS = "model.safetensors.index.json", "model.safetensors"
_LARGEST = {"tokenizer.json": 2**30, ".json": 2**26, ".jinja": 2**20}  # bytes, by name or ending
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def check_files(folder: Path, *wanted: str) -> None:
    """Refuse a folder with missing, irregular, outside or too large files, or with invalid settings.

    Links must point into the folder, or to the `blobs` of the Hugging Face cache that contains the folder. Python files
    are never read.

    Raises:
        CheckpointError: a file is not acceptable; the error names it.
    """
    if not folder.is_dir():
        raise CheckpointError(f"model: expected the folder of a saved model, {folder} does not exist or is no folder")
    for name in wanted:
        if not os.path.lexists(folder / name):
            raise CheckpointError(f"{folder}: expected a saved model, {name} is missing")
    for path in _files(folder):
        _check_file(path, folder)
    for name in _SETTINGS:
        settings = read_settings(folder, name)
        if "transformers_weights" in settings:
            raise CheckpointError(f"{folder / name}: expected the weights in {_WEIGHTS}, got transformers_weights")
    if (folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"{folder}: expected a whole model, got an adapter; merge it into its base model (peft's "
            "merge_and_unload) and save that"
        )


def read_settings(folder: Path, name: str) -> dict[str, Any]:
    """Read a file with one JSON object; a missing file counts as an empty object.

    Raises:
        CheckpointError: the file is not a JSON object.
    """
    path = folder / name
    if not os.path.lexists(path):
        return {}
    try:
        found = json.loads(read_regular_text(path))
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path}: expected JSON, cannot read it: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found


def count_weights(folder: Path) -> tuple[int, int]:
    """Return the number of tensors and of parameters in the weight files, read from their headers.

    Raises:
        CheckpointError: there are no safetensors weights, or a file is damaged.
    """
    tensors = numbers = 0
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="np") as stored:
                for name in stored.keys():  # noqa: SIM118  (not a dict)
                    size = 1
                    for length in stored.get_slice(name).get_shape():
                        size *= length
                    tensors, numbers = tensors + 1, numbers + size
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{folder}: cannot load the weights: {path.name}: {error}") from error
    return tensors, numbers


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).exists():
        return [folder / _WEIGHTS]
    shards = read_settings(folder, _INDEX).get("weight_map")
    if shards is None:
        raise CheckpointError(
            f"{folder}: cannot load the weights: expected {_WEIGHTS}, it is missing; weights in other formats are "
            "never read, since loading them may run code: save the model again with save_pretrained"
        )
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise CheckpointError(f"{folder / _INDEX}: expected the name of a file for each of weight_map")
    for name in shards.values():
        if PurePath(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{folder / _INDEX}: expected .safetensors files in the folder, got {name!r}")
        if not (folder / name).exists():
            raise CheckpointError(f"{folder}: cannot load the weights: {name} is missing")
    return [folder / name for name in sorted(set(shards.values()))]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder that a library may open."""
    for path in sorted(folder.iterdir()):
        if path.suffix in _READ:
            yield path
    templates = folder / _TEMPLATES
    if templates.is_symlink():
        yield templates
    elif templates.is_dir():
        yield from sorted(templates.iterdir())


def _check_file(path: Path, folder: Path) -> None:
    home, real = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    if not real.is_relative_to(home) and not _is_blob(real, home):
        raise CheckpointError(f"{path}: expected a file in the folder, it is a link to {real}; copy that file here")
    try:
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise CheckpointError(f"{path}: expected a file to read: {error.strerror}") from error
    largest = _LARGEST.get(path.name, _LARGEST.get(path.suffix))
    if largest is not None and size > largest:
        raise CheckpointError(f"{path}: expected at most {largest:,} bytes, got {size:,}")


def _is_blob(real: Path, home: Path) -> bool:
    """Tell whether a file is a blob of the hub cache that holds the model folder; both paths are resolved.

    If `blobs` is itself a link, its files must have hashes as names, as the hub names them: any folder could be linked.
    """
    blobs = home.parent.parent / "blobs"
    if home.parent.name != "snapshots" or not real.is_relative_to(os.path.realpath(blobs)):
        return False
    return not blobs.is_symlink() or _HASH.fullmatch(real.name) is not None
