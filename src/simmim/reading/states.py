"""What a reading that is interrupted goes on from: the keys and values that the next chunk reads, exactly."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from simmim.atomic import replaced_path
from simmim.errors import CheckpointError
from simmim.reading.cache import ReadingCache
from simmim.reading.folder import AGAIN, named

__all__ = ["remove_states", "restore_state", "save_state"]


def save_state(stem: Path, read: int, cache: ReadingCache) -> None:
    """Write the keys and values of a cache behind `read` tokens of a document: what comes is as without a stop.

    Args:
        stem: path of the document's files without their endings.
        read: tokens that were read.
        cache: what `drop` has left of them.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    both = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers])
    path = _path(stem, read)
    with replaced_path(path) as draft:
        try:
            save_file({"keys_and_values": both.contiguous()}, draft)
        except (OSError, SafetensorError) as error:
            raise named(error, path) from error


def restore_state(stem: Path, read: int, model: PreTrainedModel, segment: int, near: int) -> ReadingCache:
    """Return the cache as it was behind `read` tokens, an empty one for none.

    Raises:
        CheckpointError: its file is missing, damaged, or of another model.
    """
    cache = ReadingCache(model, segment=segment, near=near)
    if read == 0:
        return cache
    path = _path(stem, read)
    try:
        both: Tensor = load_file(path, device=str(model.device))["keys_and_values"]
    except Exception as error:
        raise CheckpointError(f"{path}: cannot go on reading from it: {error}; {AGAIN}") from error
    layers, kept = len(cache.layers), min(read, cache.kept)
    fits = both.ndim == 5 and both.shape[:2] == (layers, 2) and both.shape[3] == kept
    if not fits or not bool(both.isfinite().all()):
        raise CheckpointError(
            f"{path}: expected finite keys and values of {kept} tokens and {layers} layers, got others; {AGAIN}"
        )
    cache.load(both.to(model.dtype), read)
    return cache


def remove_states(stem: Path, keep: int | None = None) -> None:
    """Remove what earlier chunks left for the next one, also those of a process that was killed."""
    for path in stem.parent.glob(f"{stem.name}.state-*"):
        if keep is None or path != _path(stem, keep):
            path.unlink(missing_ok=True)


def _path(stem: Path, read: int) -> Path:
    return Path(f"{stem}.state-{read}")
