"""Loads a saved model with its tokenizer; an incomplete or inconsistent folder is an error."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from simmim.errors import CheckpointError, ConfigError
from simmim.models import SimMIMConfig
from simmim.tasks.model_folder import check_files, count_weights
from simmim.tasks.quiet import quiet
from simmim.tasks.trial import try_model, try_tokenizer

__all__ = [
    "LOCAL",
    "fetch_model",
    "find_device",
    "fingerprint",
    "load_model",
    "load_tokenizer",
    "part_digests",
    "reads_source",
]

_PARTS = ("*.json", "*.jinja", "*.safetensors")
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Options of every `from_pretrained`: no download, no remote code. By default transformers asks on standard input."""


def fetch_model(name: str, parts: Sequence[str] = _PARTS) -> Path:
    """Download files of a model from the Hugging Face hub, by patterns of names, unless they are in the cache.

    Returns:
        The folder of the model in the cache.

    Raises:
        CheckpointError: it cannot be downloaded.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(parts)))
    except Exception as error:  # from the name, the network, the hub or the disk
        reason = str(error).strip().split("\n", 1)[0]
        raise CheckpointError(
            f"model: expected the folder of a saved model or the name of one on the hub, got {name!r}, "
            f"which is no folder and cannot be fetched: {reason}"
        ) from error


def fingerprint(folder: Path) -> str:
    """Return the name of a model's folder and a digest of its configuration, tokenizer and weights.

    Raises:
        CheckpointError: the folder, its configuration or its tokenizer is missing.
    """
    digests = "".join(part_digests(folder).values())
    return f"{folder.resolve().name}@{hashlib.sha256(bytes.fromhex(digests)).hexdigest()[:12]}"


def part_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the configuration, tokenizer and weight files by name, sorted.

    Raises:
        CheckpointError: the folder, its configuration or its tokenizer is missing.
    """
    _check_folder(folder)
    digests = {}
    for path in sorted(path for part in _PARTS for path in folder.glob(part) if path.name != "versions.json"):
        with path.open("rb") as stream:
            digests[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests


def load_model(
    folder: Path,
    device: torch.device | str | None = None,
    auto_class: Any = AutoModelForSeq2SeqLM,
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model for use.

    Args:
        folder: folder to which `save_pretrained` wrote a model and its tokenizer; nothing is downloaded.
        device: device of the model; None takes the accelerator if there is one.
        auto_class: the Auto class of transformers for the expected kind of model.
        dtype: of the weights; None computes in float32 on a CPU and as saved on an accelerator.
        **settings: override settings of the model's configuration.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        CheckpointError: the folder or a file in it is missing or damaged, the model is of another kind, or tokenizer,
            weights and settings are inconsistent.
        ConfigError: a value in `config.json` is not valid, or the device does not exist.
    """
    _check_folder(folder)
    target = find_device(device)
    with quiet():
        config = _config(folder, **settings)
        _check_kind(folder, config, auto_class)
        tokenizer = _read_tokenizer(folder)
        _check_size(folder, config, auto_class)
        try:
            model, report = auto_class.from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `_check_weights` refuses them, with a clearer error
                **LOCAL,
            )
        except Exception as error:
            raise CheckpointError(f"{folder}: cannot load the weights: {_root(error)}") from error
        _check_weights(folder, report)
        if dtype is None:  # half precision is slow on many CPUs
            dtype = torch.float32 if target.type == "cpu" else model.dtype
        model = _cast(model, target, dtype).eval()
        try_model(model, tokenizer, folder)
    return model, tokenizer


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer for use; nothing is downloaded, and no code in the folder is run.

    Raises:
        CheckpointError: the folder or a file in it is missing or damaged, or a setting is not valid.
    """
    check_files(folder, "tokenizer.json")
    return _read_tokenizer(folder)


def reads_source(folder: Path) -> bool:
    """Tell whether a saved model is an encoder-decoder, such as one for summaries.

    Raises:
        CheckpointError: the folder, its configuration or its tokenizer is missing.
        ConfigError: the configuration cannot be read.
    """
    _check_folder(folder)
    return bool(_config(folder).is_encoder_decoder)


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load and try the tokenizer of a folder that `check_files` has accepted."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **LOCAL)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the Rust library is not an Exception
        raise CheckpointError(f"{folder / 'tokenizer.json'}: cannot load the tokenizer: {_root(error)}") from error
    try_tokenizer(tokenizer, folder)
    return tokenizer


def _config(folder: Path, **settings: Any) -> PreTrainedConfig:
    try:
        found: PreTrainedConfig = AutoConfig.from_pretrained(folder, **LOCAL, **settings)
    except Exception as error:  # transformers raises errors of many kinds
        raise ConfigError(f"{folder / 'config.json'}: {_root(error)}") from error
    return found


def _check_folder(folder: Path) -> None:
    check_files(folder, "config.json", "tokenizer.json")


def _check_kind(folder: Path, config: PreTrainedConfig, auto_class: Any) -> None:
    """Refuse a SimMIM model of another class, a part of which would be initialised at random."""
    saved = config.architectures or []
    if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
        raise ConfigError(f"{folder / 'config.json'}: architectures: expected a list of names, got {saved!r}")
    if isinstance(config, SimMIMConfig) and saved:
        wanted = auto_class._model_mapping[SimMIMConfig].__name__
        if wanted not in saved:
            raise CheckpointError(f"{folder}: expected a {wanted}, got a {saved[0]}; name the folder of another model")


def _check_size(folder: Path, config: PreTrainedConfig, auto_class: Any) -> None:
    """Refuse settings of a model far larger than its weights, before allocating it."""
    tensors, numbers = count_weights(folder)
    layers = [value for name, value in config.to_dict().items() if "layer" in name and type(value) is int]
    described = math.inf
    if max(layers, default=0) <= 4 * tensors + 16:
        try:
            with torch.device("meta"):
                model = auto_class.from_config(config, trust_remote_code=False)
        except Exception as error:
            raise CheckpointError(f"{folder / 'config.json'}: no model can be built from it: {_root(error)}") from error
        described = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if described > 2 * numbers + 2**24:
        raise CheckpointError(
            f"{folder}: the weights do not fit config.json: they have {numbers:,} numbers, it describes "
            f"{described:,}; use the config.json that was saved with them"
        )


def find_device(device: torch.device | str | None) -> torch.device:
    """Return the device of a name, the accelerator or the CPU for None.

    Raises:
        ConfigError: this machine lacks it.
    """
    present = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device is None:
        return present or torch.device("cpu")
    known = ["cpu", *([present.type] if present else [])]
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in known or (found.index or 0) >= max(1, torch.accelerator.device_count()):
        raise ConfigError(f"device: expected one of {', '.join(known)} on this machine, got {str(device)!r}")
    return found


def _cast(model: Any, target: torch.device, dtype: torch.dtype) -> Any:
    """Move a model and cast its weights; what is computed anew at each start keeps its precision.

    Frequencies of rotary embeddings in bfloat16 would be off by 0.2 %, at a distance of 1,000 tokens up to a radian.
    """
    saved = model.state_dict().keys()
    computed = {name: buffer for name, buffer in model.named_buffers() if name not in saved}
    model = model.to(target, dtype)
    for name, buffer in computed.items():
        module, _, own = name.rpartition(".")
        setattr(model.get_submodule(module), own, buffer.to(target))
    return model


def _check_weights(folder: Path, report: dict[str, Any]) -> None:
    """Refuse missing weights, which would be initialised at random, and unexpected ones."""
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(key if isinstance(key, str) else key[0] for key in report[problem])
        if keys:
            raise CheckpointError(
                f"{folder}: the weights do not fit config.json: {len(keys)} {problem.replace('_', ' ')}, {keys[0]} "
                "for one; use the config.json that was saved with them"
            )


def _root(error: BaseException) -> BaseException:
    """Return the first cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
