"""Saves a decoding cache to a file, so that a long document is read once for many questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from simmim.atomic import replaced_path
from simmim.errors import CheckpointError, ConfigError
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.nn.cache import SegmentCache
from simmim.ops.ngrams import NgramTable

__all__ = ["read_pasts", "write_pasts"]

FORMAT, _TABLE = "simmim-cache-3", "continuations."
STORED = {"capacity": "room"}
"""Fields of a cache that a file of this format has under another name."""
FIELD = {stored: field for field, stored in STORED.items()}
WITHOUT_EFFECT = {
    *("dropout", "initializer_range", "use_cache", "is_encoder_decoder", "tie_word_embeddings"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
}
"""Settings that do not affect the cache of a model with the same weights."""


def write_pasts(
    pasts: list[SegmentCache], continuations: NgramTable | None, path: Path, model: PreTrainedModel, made_from: Any
) -> None:
    """Write the caches of the layers of a model to a file, atomically.

    Args:
        pasts: the cache of each layer.
        continuations: the n-gram table of the copy head, or None.
        path: the file to create or replace; missing parents are created.
        model: the model that computed the caches.
        made_from: the input of the model, as a JSON value; None is not recorded.

    Raises:
        CheckpointError: the file cannot be written.
        ConfigError: `made_from` is not a JSON value.
    """
    tensors: dict[str, Tensor] = {}
    numbers = []
    for number, past in enumerate(pasts):
        fields = vars(past.compact())
        for name, value in fields.items():
            if isinstance(value, Tensor):
                # Layers share positions, but a safetensors file has no shared tensors.
                tensors[f"layers.{number}.{name}"] = value.contiguous() if value.is_floating_point() else value.clone()
        numbers.append({STORED.get(name, name): value for name, value in fields.items() if isinstance(value, int)})
    if continuations is not None:
        tensors |= {f"{_TABLE}{name}": torch.from_numpy(value) for name, value in vars(continuations).items()}
    metadata = {"format": FORMAT, "model": _fingerprint(model), "layers": json.dumps(numbers)}
    metadata["made_from"] = _digest(made_from)
    metadata["sha256"] = _checksum(tensors, metadata)
    try:
        with replaced_path(path) as draft:
            save_file(tensors, draft, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"path: expected a path to write a cache to, got {path}: {error}") from error


def read_pasts(path: Path, model: PreTrainedModel, made_from: Any) -> tuple[list[SegmentCache], NgramTable | None]:
    """Read a file of ``write_pasts`` for the same model, onto its device.

    Raises:
        CheckpointError: the file is missing, damaged or not a cache, or belongs to another model or input.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "is not there"
        raise CheckpointError(f"path: expected the file of a cache, got {path}, which {what}")
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        _damaged(path, str(error), error)
    if metadata.get("format") != FORMAT:
        _damaged(path, f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
    if metadata.get("sha256") != _checksum(tensors, metadata):
        _damaged(path, "its contents are not those that were written")
    if metadata.get("model") != _fingerprint(model):
        raise CheckpointError(
            f"model: expected the model that {path} was saved with, got one with other settings, weights or dtype; "
            "load that model, or have this one read the text again"
        )
    if made_from is not None and metadata["made_from"] != _digest(made_from):
        raise CheckpointError(
            f"made_from: expected what {path} was made from, got another text; have the model read that"
        )
    # Copies: tensors in a file have another alignment than in memory, which changes rounding.
    device, pasts = model.device, []
    table = _copies(tensors, _TABLE, torch.device("cpu"))
    try:
        for number, numbers in enumerate(json.loads(metadata["layers"])):
            fields = {**numbers, **_copies(tensors, f"layers.{number}.", device)}
            pasts.append(SegmentCache(**{FIELD.get(name, name): value for name, value in fields.items()}))
        continuations = NgramTable(**{name: value.numpy() for name, value in table.items()}) if table else None
    except (ValueError, TypeError, RecursionError) as error:  # a hand-made file
        _damaged(path, str(error), error)
    if len(pasts) != model.config.num_hidden_layers:
        _damaged(path, f"it has {len(pasts)} layers, the model {model.config.num_hidden_layers}")
    return pasts, continuations


def _copies(tensors: Mapping[str, Tensor], prefix: str, device: torch.device) -> dict[str, Tensor]:
    """Return copies of the tensors whose names start with a prefix, which is removed."""
    return {
        name.removeprefix(prefix): tensor.to(device, copy=True)
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _damaged(path: Path, what: str, error: Exception | None = None) -> NoReturn:
    raise CheckpointError(
        f"path: expected a whole file that SimMIMCache.save wrote, got {path}: {what}; "
        "have the model read the text again, and save anew"
    ) from error


def _fingerprint(model: PreTrainedModel) -> str:
    """Return a digest of what affects the cache of a model: class, settings, weights and dtype."""
    names = sorted(SimMIMConfig.__annotations__.keys() - WITHOUT_EFFECT)
    settings = {name: getattr(model.config, name) for name in names}
    digest = hashlib.sha256(json.dumps([type(model).__name__, settings], sort_keys=True).encode())
    _add(digest, model.state_dict())
    return digest.hexdigest()


def _digest(made_from: Any) -> str:
    """Return the SHA-256 of a value as JSON; empty for None."""
    if made_from is None:
        return ""
    try:
        encoded = json.dumps(made_from, sort_keys=True, default=_as_list)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"made_from: expected token ids, or what JSON can hold, got another value: {error}"
        ) from error
    return hashlib.sha256(encoded.encode()).hexdigest()


def _as_list(value: object) -> object:
    """Return a tensor, array or scalar of PyTorch or NumPy as a list or number."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of the tensors and metadata of a file."""
    described = {name: text for name, text in metadata.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    _add(digest, tensors)
    return digest.hexdigest()


def _add(digest: Any, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
