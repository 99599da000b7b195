"""Registers `attn_implementation="simmim"` with transformers, and passes a reading cache to the attention layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from simmim.errors import ConfigError

__all__ = ["FAMILIES", "UnrotatedCache", "attach", "decoder_of"]

FAMILIES = ("gemma2", "gemma3_text", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3")
"""`model_type` of the configurations whose attention is known: each has a test against its own attention."""

_NAME = "simmim"


class UnrotatedCache(ABC):
    """What decoder and attention ask of a cache that holds keys without rotation."""

    @abstractmethod
    def begin(self, tokens: Tensor, mask: Tensor | None, position_ids: Tensor | None) -> None:
        """Take note of new tokens and their padding, before the first layer sees them."""

    @abstractmethod
    def attend(self, attention: nn.Module, query: Tensor, scale: float, softcap: float | None) -> Tensor:
        """Return what the new queries of a layer find among the keys and values of its `update` calls."""


def attach(model: PreTrainedModel) -> None:
    """Let a model read with an `UnrotatedCache`: its decoder hands the cache to the attention, which rotates the keys.

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
    if getattr(config, "use_bidirectional_attention", False):
        raise ConfigError("model: expected causal attention, got use_bidirectional_attention=True")
    _check_attention(config)
    if not getattr(decoder, "_reads_with_simmim", False):
        decoder.register_forward_pre_hook(_hand_over, with_kwargs=True)
        decoder._reads_with_simmim = True


def decoder_of(model: PreTrainedModel) -> Any:
    """Return the module that holds the layers and the rotary embedding."""
    return model.get_decoder()


def _check_attention(config: Any) -> None:
    if config._attn_implementation != _NAME:
        raise ConfigError(
            f'model: expected attn_implementation="{_NAME}", got {config._attn_implementation!r}; load it so, or call '
            f'model.set_attn_implementation("{_NAME}")'
        )


def _hand_over(decoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """Give a reading cache its padding, and the layers positions 0, at which a rotation changes nothing."""
    cache = kwargs.get("past_key_values")
    if not isinstance(cache, UnrotatedCache):
        return None
    _check_attention(decoder.config)
    if kwargs.get("output_attentions"):
        raise ConfigError(
            'output_attentions: expected False with a ReadingCache; load the model with "eager" attention'
        )
    if decoder.training and any(layer.gradient_checkpointing for layer in decoder.layers):
        raise ConfigError("model: expected no gradient checkpointing with a ReadingCache; call model.eval() to read")
    tokens = kwargs.get("input_ids", args[0] if args else None)
    tokens = kwargs["inputs_embeds"] if tokens is None else tokens
    cache.begin(tokens, kwargs.get("attention_mask"), kwargs.get("position_ids"))
    zeros = torch.zeros(tokens.shape[:2], dtype=torch.long, device=tokens.device)
    return args, kwargs | {"attention_mask": None, "position_ids": zeros, "reading_cache": cache}


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Attend as `sdpa` does, or, with a reading cache, to the sink and the near segments."""
    cache: UnrotatedCache | None = kwargs.pop("reading_cache", None)
    scale: float = kwargs.pop("scaling", None) or query.shape[-1] ** -0.5
    softcap = kwargs.get("softcap")
    if cache is not None:
        if kwargs.get("dropout"):
            raise ConfigError("model: expected no dropout with a ReadingCache; call model.eval() to read")
        return cache.attend(module, query, scale, softcap), None
    if softcap is not None:
        raise ConfigError('model: expected a ReadingCache with this family; else load it with "eager" attention')
    out: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scale, **kwargs
    )
    return out


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
