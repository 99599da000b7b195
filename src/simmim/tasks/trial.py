"""Tries a loaded model on a short text, so that loading detects invalid settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.data.tokenizer import vocabulary_size
from simmim.errors import CheckpointError

__all__ = ["try_model", "try_tokenizer"]

_TEXT = "a text"
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def try_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Encode, pad and decode a text.

    Raises:
        CheckpointError: it does not return token ids and text, or a setting is not valid.
    """
    limit: object = tokenizer.model_max_length
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or math.isnan(limit) or limit < 1:
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'}: model_max_length: expected a number of tokens from 1, got {limit!r}"
        )
    try:
        ids = tokenizer(_TEXT, verbose=False)["input_ids"]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        if not isinstance(text, str) or not all(type(token) is int for token in ids):
            raise TypeError(f"it gives {ids!r} and {text!r}")
        if tokenizer.pad_token_id is not None:
            tokenizer.pad({"input_ids": [ids, [*ids, *ids]]}, return_tensors="pt")
    except Exception as error:  # invalid settings raise errors of any type
        raise CheckpointError(f"{folder}: the tokenizer does not work on {_TEXT!r}: {_reason(error)}") from error


def try_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Generate one token with a model, as the commands do; costs one forward pass.

    Args:
        model: a model with `generate`, on its final device and in its final dtype.
        tokenizer: its tokenizer, which `try_tokenizer` has tried.
        folder: the folder that both were loaded from.

    Raises:
        CheckpointError: the tokenizer has more entries than the model, generation fails, or logits are not finite.
    """
    embedding: Any = model.get_input_embeddings()
    rows: int = embedding.weight.shape[0]
    entries = vocabulary_size(tokenizer)
    if entries > rows:
        raise CheckpointError(
            f"{folder}: expected a tokenizer of at most {rows:,} entries, as many as the model has, got {entries:,}; "
            "after adding tokens call model.resize_token_embeddings(len(tokenizer)), train, and save both"
        )
    if not model.can_generate():
        return
    config: Any = model.generation_config
    _check_generation(config, rows, folder)
    seq2seq = bool(model.config.is_encoder_decoder)
    if seq2seq and tokenizer.pad_token_id is None:
        raise CheckpointError(f"{folder}: expected a tokenizer with a padding token, it has none; set pad_token")
    ids = tokenizer(_TEXT, verbose=False)["input_ids"] or [0]
    inputs = torch.tensor([ids], device=model.device)
    generate: Any = model.generate  # PreTrainedModel does not declare it
    settings: dict[str, Any] = {"num_beams": 2, "do_sample": False} if seq2seq else {"num_beams": 1, "do_sample": True}
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            written = generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=1,
                return_dict_in_generate=True,
                output_logits=True,
                **settings,
            )
    except Exception as error:  # invalid settings raise errors of any type
        raise CheckpointError(
            f"{folder}: the model cannot write a token with the settings in config.json and generation_config.json: "
            f"{_reason(error)}"
        ) from error
    if not all(bool(step.isfinite().all()) for step in written.logits):
        raise CheckpointError(
            f"{folder}: expected weights that give finite numbers, these give others; fetch them again"
        )


def _check_generation(config: Any, rows: int, folder: Path) -> None:
    """Refuse saved generation settings that change the type of the output, and invalid token ids."""
    path = folder / "generation_config.json"
    if config.num_return_sequences not in (None, 1) or config.return_dict_in_generate not in (None, False):
        raise CheckpointError(f"{path}: expected one sequence of ids a text, not several and no dictionary")
    for name in _IDS:
        for token in _flat(getattr(config, name, None)):
            missing_pad = name == "pad_token_id" and token == -1  # some models write -1 for none
            if not missing_pad and (type(token) is not int or not 0 <= token < rows):
                raise CheckpointError(f"{path}: {name}: expected ids from 0 to {rows - 1:,}, got {token!r}")


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        yield from value
    elif value is not None:
        yield value


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
