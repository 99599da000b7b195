"""Checks the prompt that ``generate`` was given, beside the cache that it goes on from, and moves its padding left."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from simmim.errors import ShapeError

__all__ = ["checked_prompt"]


def checked_prompt(input_ids: Tensor, kwargs: dict[str, Any], covered: int, *, align: bool) -> Tensor:
    """Return a prompt whose new tokens end with a token in every row, with ``attention_mask`` in ``kwargs`` to match.

    Where padding stands makes no difference to a model; only so can a prompt be read part by part, the last of which
    says how it goes on.

    Args:
        input_ids: ``[B, N]`` the whole text, of which a cache holds the beginning, or what is new.
        kwargs: of the model; ``attention_mask`` and ``past_key_values`` are looked at.
        covered: tokens that the mask covers; if they are N, the text is the whole one.
        align: move padding to the left.

    Raises:
        ShapeError: there is nothing new in it, or in one of its rows, or the cache does not go with it.
    """
    past: Cache | None = kwargs.get("past_key_values")
    cached = 0 if past is None else past.get_seq_length()
    batch, tokens = input_ids.shape
    new = tokens - cached if covered == tokens else tokens
    if new < 1 or covered != cached + new:
        raise ShapeError(
            f"past_key_values: expected a cache that holds less than the text, got one of {cached} tokens with "
            f"input_ids of {tokens} and an attention_mask of {covered}; pass the whole text, of which the cache holds "
            f"the beginning, or only what is new with an attention_mask of both, [{batch}, {cached} + new]"
        )
    mask: Tensor | None = kwargs.get("attention_mask")
    if mask is None:
        return input_ids
    shown = mask[:, -new:].bool()
    empty = (~shown.any(1)).nonzero().flatten().tolist()
    if empty:
        raise ShapeError(
            f"attention_mask: expected a token in every row of the prompt, got none in {empty}; begin them with bos, "
            "or leave these rows out"
        )
    if not align or bool(shown[:, -1].all()):
        return input_ids
    order = shown.long().argsort(dim=1, stable=True)
    kwargs["attention_mask"] = torch.cat((mask[:, :-new], mask[:, -new:].gather(1, order)), dim=1)
    return torch.cat((input_ids[:, :-new], input_ids[:, -new:].gather(1, order)), dim=1)
