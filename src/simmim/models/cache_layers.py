"""The layers of the decoding caches as transformers' ``CacheLayerMixin``: a past, or what is read of a memory."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from simmim.nn.cache import SegmentCache

__all__ = ["MemoryCacheLayer", "SimMIMCacheLayer"]


class _FilledLayer(CacheLayerMixin):
    """Base of layers that hold what the model puts there, not keys and values that are handed to ``update``."""

    is_sliding = False
    supports_early_init = False

    def get_max_length(self) -> int:
        """Return -1: there is no longest document."""
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length of the attention mask that covers past and new tokens, and its offset."""
        return self.get_seq_length() + query_length, 0

    @abstractmethod
    def select(self, index: Tensor) -> None:
        """Keep, repeat and reorder documents: those of these numbers."""

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep, repeat and reorder documents as beam search says."""
        self.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the documents of these numbers, or those where a mask is true."""
        self.select(indices.nonzero()[:, 0] if indices.dtype == torch.bool else indices)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> NoReturn:
        """Refuse: the model fills this layer itself."""
        raise TypeError(f"{type(self).__name__} is filled by the model that it is passed to, not from keys and values")

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> NoReturn:
        """Refuse: the model fills this layer itself."""
        self.lazy_initialization(key_states, value_states)


class SimMIMCacheLayer(_FilledLayer):
    """Holds one causal SMI layer's past; the layer itself fills it.

    Attributes:
        past: window and states, or None before the first token.
    """

    def __init__(self) -> None:
        super().__init__()
        self.past = None
        self.device: torch.device | None = None

    @property
    def past(self) -> SegmentCache | None:
        """The window and the states."""
        return self._past

    @past.setter
    def past(self, past: SegmentCache | None) -> None:
        self._past, self.is_initialized = past, past is not None

    def get_seq_length(self) -> int:
        """Return the tokens that came in so far, padding included."""
        return 0 if self.past is None else self.past.seen

    def reset(self) -> None:
        """Forget everything."""
        self.past = None

    def select(self, index: Tensor) -> None:
        """Keep, repeat and reorder documents: those of these numbers."""
        if self.past is not None:
            self.past.select(index)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every document."""
        if self.past is not None:
            rows = torch.arange(len(self.past.position), device=self.past.position.device)
            self.past.select(rows.repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens, where what is left is still here.

        Args:
            tokens_to_remove: how many, as a negative number (transformers counts so), or 0.

        Raises:
            ValueError: the number is positive, or these tokens cannot be taken back; nothing is changed.
        """
        if tokens_to_remove > 0:
            raise ValueError(f"tokens_to_remove: expected a negative number or 0, got {tokens_to_remove}")
        if tokens_to_remove and self.past is not None:
            self.past.crop(-tokens_to_remove)

    def offload(self) -> None:
        """Move the past to CPU memory."""
        if self.past is not None and self.past.position.device.type != "cpu":
            self.device = self.past.position.device
            self.past.to("cpu")

    def prefetch(self) -> None:
        """Move the past back to where it was."""
        if self.past is not None and self.device is not None:
            self.past.to(self.device)


class MemoryCacheLayer(_FilledLayer):
    """Holds what one decoder layer, or a copy head, made of the encoder's memory: of each document once.

    What is decoded are targets, as many of each document, side by side: the beams of a search, or several samples.
    Targets that are reordered within their documents move nothing here.

    Attributes:
        projected: tensors of any shape, documents first.
        mask: ``[B, M]`` which vectors of the memory may be read; None if all may.
        targets: how many of each document.
    """

    def __init__(self) -> None:
        super().__init__()
        self.projected: tuple[Tensor, ...] = ()
        self.mask: Tensor | None = None
        self.targets = 1

    def fill(self, projected: tuple[Tensor, ...], mask: Tensor | None, targets: int = 1) -> None:
        """Hold these from now on, for so many targets of each document."""
        self.projected, self.mask, self.targets, self.is_initialized = projected, mask, targets, True
        self.device = projected[0].device

    def read(self) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Return what is kept, on the device that it came from; a copy that was moved away stays where it is."""
        mask = None if self.mask is None else self.mask.to(self.device)
        return tuple(tensor.to(self.device) for tensor in self.projected), mask

    def get_seq_length(self) -> int:
        """Return M, or 0 before the layer is filled."""
        return self.projected[0].shape[-2] if self.projected else 0

    def reset(self) -> None:
        """Forget everything."""
        self.projected, self.mask, self.targets, self.is_initialized = (), None, 1, False

    def select(self, index: Tensor) -> None:
        """Keep, repeat and reorder targets: those of these numbers, with the documents that they are of."""
        if not self.projected:
            return
        documents = [target // self.targets for target in index.tolist()]
        runs = [len(list(run)) for _, run in itertools.groupby(documents)]
        self.targets = math.gcd(*runs) or 1
        documents = documents[:: self.targets]
        if documents != list(range(len(self.projected[0]))):
            self._change(lambda tensor: tensor[documents])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every target."""
        self.targets *= repeats

    def offload(self) -> None:
        """Move everything to CPU memory."""
        self._change(lambda tensor: tensor.to("cpu"))

    def prefetch(self) -> None:
        """Move everything back to where it was."""
        self._change(lambda tensor: tensor.to(self.device))

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        self.projected = tuple(change(tensor) for tensor in self.projected)
        self.mask = None if self.mask is None else change(self.mask)
