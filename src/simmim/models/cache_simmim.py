"""The decoding cache as a transformers ``Cache``: each layer keeps its window and its states, never every token."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from simmim.nn.segment_cache import SegmentCache

__all__ = ["SimMIMCache", "SimMIMCacheLayer"]


class SimMIMCacheLayer(CacheLayerMixin):
    """Holds one causal SMI layer's past; the layer itself fills it.

    Attributes:
        past: window and states, or None before the first token.
    """

    is_sliding = False
    is_croppable = False
    supports_early_init = False

    def __init__(self) -> None:
        super().__init__()
        self.past: SegmentCache | None = None

    def get_seq_length(self) -> int:
        """Return the tokens that came in so far, padding included."""
        return 0 if self.past is None else self.past.seen

    def get_max_length(self) -> int:
        """Return -1: there is no longest document."""
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length of the attention mask that covers past and new tokens, and its offset."""
        return self.get_seq_length() + query_length, 0

    def reset(self) -> None:
        """Forget everything."""
        self.past = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep, repeat and reorder documents as beam search says."""
        if self.past is not None:
            self.past.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the documents of these numbers."""
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every document."""
        if self.past is not None:
            rows = torch.arange(len(self.past.position), device=self.past.position.device)
            self.past.select(rows.repeat_interleave(repeats))

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> NoReturn:
        """Refuse: an SMI layer fills its cache from segments, not from keys and values."""
        raise TypeError("SimMIMCacheLayer is filled by SMIAttention.extend, not from key and value tensors")

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> NoReturn:
        """Refuse: an SMI layer fills its cache from segments, not from keys and values."""
        raise TypeError("SimMIMCacheLayer is filled by SMIAttention.extend, not from key and value tensors")

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse to forget the last tokens: what the window overwrote and the states have summed is gone."""
        if tokens_to_remove:
            raise ValueError(
                f"crop: a SimMIM cache cannot give back its last {abs(tokens_to_remove)} tokens; "
                "keep a copy (copy.deepcopy) before generating, or encode the shorter text again"
            )


class SimMIMCache(Cache):
    """The caches of a decoder's layers.

    Args:
        num_layers: layers of the decoder.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__(layers=[SimMIMCacheLayer() for _ in range(num_layers)])
