"""Registers `attn_implementation="simmim"` with transformers, and passes a reading cache to the attention layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from simmim.errors import ConfigError
from simmim.reading.local_attention import attend
from simmim.reading.rotation import layer_type_of, uses_rotation

__all__ = ["FAMILIES", "attach", "decoder_of"]

FAMILIES = ("gemma2", "gemma3_text", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3")
"""`model_type` of the configurations whose attention is known: each has a test against its own attention."""

_NAME = "simmim"


def attach(model: PreTrainedModel) -> None:
    """Let a model read with a `ReadingCache`: its decoder hands the cache to the attention, which rotates the keys.

    Raises:
        ConfigError: the model is of a family that is not supported, or was loaded with another attention.
    """
    decoder = decoder_of(model)
    config = decoder.config
    if config.model_type not in FAMILIES:
        raise ConfigError(
            f"model: expected one of the families {', '.join(FAMILIES)}, got {config.model_type}; "
            "its rotary embedding or its attention is not known to the reader"
        )
    if config._attn_implementation != _NAME:
        raise ConfigError(
            f'model: expected attn_implementation="{_NAME}", got {config._attn_implementation!r}; load it so, or call '
            f'model.set_attn_implementation("{_NAME}")'
        )
    if not getattr(decoder, "_reads_with_simmim", False):
        decoder.register_forward_pre_hook(_hand_over, with_kwargs=True)
        decoder._reads_with_simmim = True


def decoder_of(model: PreTrainedModel) -> Any:
    """Return the module that holds the layers and the rotary embedding."""
    return model.get_decoder()


def _hand_over(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """Give a reading cache its padding, and the layers positions 0, at which a rotation changes nothing."""
    from simmim.reading.cache import ReadingCache

    cache = kwargs.get("past_key_values")
    if not isinstance(cache, ReadingCache):
        return None
    tokens = kwargs.get("input_ids", args[0] if args else None)
    tokens = kwargs["inputs_embeds"] if tokens is None else tokens
    batch, chunk = tokens.shape[:2]
    cache.begin(batch, chunk, kwargs.get("attention_mask"), tokens.device)
    zeros = torch.zeros(batch, chunk, dtype=torch.long, device=tokens.device)
    return args, kwargs | {"attention_mask": None, "position_ids": zeros, "reading_cache": cache}


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Attend as `sdpa` does, or, with a reading cache, to the sink and the near segments."""
    cache = kwargs.pop("reading_cache", None)
    scale: float = kwargs.pop("scaling", None) or query.shape[-1] ** -0.5
    softcap = kwargs.get("softcap")
    if cache is None:
        if softcap is not None:
            raise ConfigError('model: expected a ReadingCache with this family; else load it with "eager" attention')
        out: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scale, **kwargs
        )
        return out
    layer: Any = module.layer_idx
    if cache.queries is not None:
        cache.queries[layer] = query
    plan = cache.plan(layer, query.shape[2])
    keys, values = cache.layers[layer].gather(plan.keys)
    rotation = cache.rotation if uses_rotation(module) else None
    return attend(query, keys, values, plan, rotation, layer_type_of(module), scale, softcap), None


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
