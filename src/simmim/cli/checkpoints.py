"""Where the commands find the loader of saved models: they only use them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.cli.messages import say
from simmim.nn import lay_out_for_decoding
from simmim.tasks import checkpoints
from simmim.tasks.pretrained_weights import cache_folder, default_model_file, find_weights, is_converted

__all__ = ["find_model", "load_model", "model_folder"]


def find_model(name: str | None) -> Path:
    """Return the folder of a pretrained model; say so before a GGUF file is converted, which happens once.

    Args:
        name: a folder, a GGUF file, or a name on the hub; None for the default.

    Raises:
        CheckpointError: there is no such model, or it cannot be converted.
    """
    path = default_model_file() if name is None else Path(name)
    if path.suffix.lower() == ".gguf" and path.is_file() and not is_converted(path):
        say(f"{path.name}: converting it once, into {cache_folder() / 'models'}; that takes about half a minute")
    return find_weights(name)


def model_folder(name: str | None) -> Path:
    """Return the folder that `--model` names: a folder as it is, else as `find_model` finds it.

    Raises:
        CheckpointError: as for `find_model`.
    """
    if name is None or Path(name).suffix.lower() == ".gguf":
        return find_model(name)
    on_hub = re.fullmatch(r"[\w-]+/[\w.-]+", name) is not None and not Path(name).exists()
    return find_model(name) if on_hub else Path(name)


def load_model(folder: Path, **options: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model as ``simmim.tasks.checkpoints.load_model`` does, and lay it out for decoding."""
    model, tokenizer = checkpoints.load_model(folder, **options)
    return lay_out_for_decoding(model), tokenizer
