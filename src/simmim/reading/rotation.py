"""Applies a pretrained model's own rotary position embedding at positions of our choice."""

from __future__ import annotations

import sys
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["Rotation", "Tables", "layer_type_of", "uses_rotation"]

Tables = tuple[Float[Tensor, "B P R"], Float[Tensor, "B P R"]]
"""Cosine and sine of P positions, R rotated channels."""


class Rotation:
    """The rotary embedding of a decoder of transformers: the frequencies of its module, the formula of its file.

    A cache that keeps keys without rotation can put a token at any position: only the distance between query and key
    enters the scores (RoFormer, arXiv 2104.09864, eq. 16).

    Args:
        decoder: the module that holds `layers` and `rotary_emb`.
    """

    def __init__(self, decoder: Any) -> None:
        self.module: Any = decoder.rotary_emb
        attention: Any = sys.modules[type(decoder.layers[0].self_attn).__module__]
        self.apply: Any = attention.apply_rotary_pos_emb

    def __deepcopy__(self, memo: dict[int, Any]) -> Rotation:
        """Return itself: copies of a cache belong to the same model."""
        return self

    def tables(self, positions: Int[Tensor, "B P"], like: Tensor, layer_type: str | None) -> Tables:
        """Return cosine and sine of each position, without the factor by which YaRN and LongRoPE scale the scores.

        The model has applied that factor itself, at position 0, to every query and key that reaches us. We divide in
        float32: in bfloat16 the quotient would be rounded three times.
        """
        kind = () if layer_type is None else (layer_type,)
        # Position 0 comes last, in the same call: a dynamic rotary module chooses its frequencies by the largest
        # position of a call, and would forget them at a call with position 0 alone.
        zero = positions.new_zeros(len(positions), 1)
        cos, sin = self.module(
            like.new_empty(0, dtype=torch.promote_types(like.dtype, torch.float32)),
            torch.cat([positions, zero], 1),
            *kind,
        )
        factor = cos[:, -1:]
        return (cos[:, :-1] / factor).to(like.dtype), (sin[:, :-1] / factor).to(like.dtype)

    def rotate(self, x: Float[Tensor, "B H P D"], tables: Tables | None) -> Float[Tensor, "B H P D"]:
        """Rotate queries or keys; None leaves them as they are (layers without positions)."""
        if tables is None:
            return x
        rotated: Tensor = self.apply(x, x[:, :0], *tables)[0]
        return rotated


def layer_type_of(attention: nn.Module) -> str | None:
    """Return the name by which a rotary module with several sets of frequencies knows a layer (Gemma 3)."""
    config: Any = attention.config
    parameters = getattr(config, "rope_parameters", None) or {}
    several = isinstance(parameters, dict) and any(isinstance(value, dict) for value in parameters.values())
    return attention.layer_type if several else None  # type: ignore[return-value]


def uses_rotation(attention: nn.Module) -> bool:
    """Return whether a layer rotates its queries and keys; SmolLM3 leaves every fourth without positions."""
    return bool(getattr(attention, "use_rope", True))
