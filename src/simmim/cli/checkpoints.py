"""Where the commands find the loader of saved models: they only use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.nn import lay_out_for_decoding
from simmim.tasks import checkpoints

__all__ = ["load_model"]


def load_model(folder: Path, **options: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model as ``simmim.tasks.checkpoints.load_model`` does, and lay it out for decoding."""
    model, tokenizer = checkpoints.load_model(folder, **options)
    return lay_out_for_decoding(model), tokenizer
