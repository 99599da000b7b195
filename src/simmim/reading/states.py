"""What a reading that is interrupted goes on from: the keys and values that the next chunk reads, exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from simmim.atomic import replaced_path
from simmim.errors import CheckpointError
from simmim.reading.cache import ReadingCache
from simmim.reading.folder import AGAIN, named

__all__ = ["has_state", "rebuild_state", "remove_states", "restore_state", "save_state"]


def save_state(stem: Path, read: int, cache: ReadingCache) -> None:
    """Write the keys and values of a cache behind `read` tokens of a document: what comes is as without a stop.

    Args:
        stem: path of the document's files without their endings.
        read: tokens that were read.
        cache: what `drop` has left of them.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    both = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers[: _layers(cache)]])
    path = _path(stem, read)
    with replaced_path(path) as draft:
        try:
            save_file({"keys_and_values": both.contiguous()}, draft)
        except (OSError, SafetensorError) as error:
            raise named(error, path) from error


def has_state(stem: Path, read: int) -> bool:
    """Tell whether an interrupted reading left the keys and values behind `read` tokens."""
    return _path(stem, read).exists()


def restore_state(stem: Path, read: int, cache: ReadingCache, model: PreTrainedModel) -> None:
    """Fill an empty cache with what `save_state` wrote behind `read` tokens.

    Raises:
        CheckpointError: the file is damaged, or of another model.
    """
    path = _path(stem, read)
    try:
        both: Tensor = load_file(path, device=str(model.device))["keys_and_values"]
    except Exception as error:
        raise CheckpointError(f"{path}: cannot go on reading from it: {error}; {AGAIN}") from error
    layers, kept = _layers(cache), min(read, cache.kept)
    fits = both.ndim == 5 and both.shape[:2] == (layers, 2) and both.shape[3] == kept
    if not fits or not bool(both.isfinite().all()):
        raise CheckpointError(
            f"{path}: expected finite keys and values of {kept} tokens and {layers} layers, got others; {AGAIN}"
        )
    cache.load(both.to(model.dtype), read)


def rebuild_state(
    cache: ReadingCache, feed: Callable[[ReadingCache, np.ndarray], None], ids: np.ndarray, chunk: int
) -> None:
    """Fill an empty cache with what it holds behind some tokens, to the bit, without reading all of them again.

    A layer's keys depend on the sink and on as many tokens before as a layer reaches, once for each layer below. So
    the first chunk is read, and the last ones; what stands between seems to be the first chunk's end, and none of
    the keys that stay depends on it.

    Args:
        cache: an empty one.
        feed: reads tokens into it.
        ids: tokens that were read, whole chunks.
        chunk: tokens that are read at once, as the first time.

    Cost: reads the sum of all layers' windows, about 10,000 tokens for 18 layers with windows of 576.
    """
    reach = (cache.kept - cache.window.sink) * _layers(cache)
    begin = max(chunk, (len(ids) - reach) // chunk * chunk)
    for start in (0, *range(begin, len(ids), chunk)):
        if start:
            for layer in cache.layers[: _layers(cache)]:
                layer.dropped += start - layer.get_seq_length()
        feed(cache, ids[start : start + chunk])
        cache.drop()


def _layers(cache: ReadingCache) -> int:
    """Return how many layers of the model read."""
    return len(cache.layers) if cache.last is None else cache.last + 1


def remove_states(stem: Path, keep: int | None = None) -> None:
    """Remove what earlier chunks left for the next one, also those of a process that was killed."""
    for path in stem.parent.glob(f"{stem.name}.state-*"):
        if keep is None or path != _path(stem, keep):
            path.unlink(missing_ok=True)


def _path(stem: Path, read: int) -> Path:
    return Path(f"{stem}.state-{read}")
