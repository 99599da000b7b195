"""Loads a model that translates: one of SimMIM's, or an encoder-decoder or chat model of the hub."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from simmim.errors import CheckpointError
from simmim.models import SimMIMConfig
from simmim.nn import lay_out_for_decoding
from simmim.tasks.checkpoints import LOCAL, fetch_model, find_device
from simmim.tasks.checkpoints import load_model as load_checked
from simmim.tasks.quiet import quiet
from simmim.tasks.translation.default_model import find_translation_model

__all__ = ["load_translation_model"]

_PARTS = ("*.json", "*.jinja", "*.safetensors", "*.spm", "*.model")


def load_translation_model(
    name: str | Path | None, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer; no code in the folder is run, and weights are read from safetensors alone.

    Args:
        name: the folder of a saved model, or the name of one on the Hugging Face hub; None for the default.
        device: where to compute; None takes the accelerator if there is one.
        dtype: of the weights; None computes in float32 on a CPU and as saved on an accelerator.

    Raises:
        CheckpointError: the model is missing, incomplete or damaged, or cannot be fetched.
        ConfigError: a value in `config.json` is not valid, or the device does not exist.
    """
    folder = find_translation_model() if name is None else Path(name)
    if not folder.exists():
        folder = fetch_model(str(name), _PARTS)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, **LOCAL)
    except Exception as error:  # transformers raises errors of many kinds
        raise CheckpointError(f"{folder}: expected the folder of a saved model, cannot read it: {error}") from error
    auto_class: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    if isinstance(config, SimMIMConfig):
        model, tokenizer = load_checked(folder, device, auto_class, dtype)
        return lay_out_for_decoding(model), tokenizer
    target = find_device(device)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")
            tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
            model = auto_class.from_pretrained(folder, use_safetensors=True, **LOCAL)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise CheckpointError(f"{folder}: cannot load the model or its tokenizer: {error}") from error
    chosen = dtype or (torch.float32 if target.type == "cpu" else model.dtype)
    return model.to(target, chosen).eval(), tokenizer
