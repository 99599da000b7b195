"""The decoding caches as transformers' ``Cache``: pasts of all layers, and what they read of a memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, EncoderDecoderCache

from simmim.errors import ShapeError
from simmim.models.cache_files import read_pasts, write_pasts
from simmim.models.cache_layers import MemoryCacheLayer, SimMIMCacheLayer
from simmim.nn.cache import SegmentCache
from simmim.ops.ngrams import NgramTable

__all__ = ["MemoryCache", "MemoryCacheLayer", "SimMIMCache", "SimMIMCacheLayer", "SimMIMEncoderDecoderCache"]


class _LayerCache(Cache):
    """Base of caches whose layers are moved to CPU memory while no layer works with them, if that is wanted."""

    def __init__(self, layers: Sequence[CacheLayerMixin], offloading: bool) -> None:
        # transformers moves layers inside of ``update``, which is not called here; so the model moves them.
        super().__init__(layers=list(layers))
        self.offloads = offloading

    def prefetch(self, layer_idx: int, only_non_sliding: bool = True) -> None:
        """Bring a layer back before it is worked with, if layers are moved at all."""
        if self.offloads:
            self.layers[layer_idx].prefetch()

    def offload(self, layer_idx: int, only_non_sliding: bool = True) -> None:
        """Move a layer away after it was worked with, if layers are moved at all."""
        if self.offloads:
            self.layers[layer_idx].offload()


class SimMIMCache(_LayerCache):
    """The pasts of a decoder's layers.

    A text is read once and continued in many ways from copies (``copy.deepcopy``), or from a file that ``save`` wrote.

    Args:
        num_layers: layers of the decoder.
        offloading: keep the pasts in CPU memory but for the layer that is at work; for a GPU with little memory.

    Attributes:
        continuations: what a copy head may copy; None where nothing has been read, or there is no copy head.
    """

    def __init__(self, num_layers: int, offloading: bool = False) -> None:
        super().__init__([SimMIMCacheLayer() for _ in range(num_layers)], offloading)
        self.continuations: NgramTable | None = None

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.continuations = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep, repeat and reorder documents as beam search says."""
        super().reorder_cache(cast(torch.LongTensor, beam_idx))
        self._select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the documents of these numbers, or those where a mask is true."""
        super().batch_select_indices(indices)
        self._select(indices.nonzero()[:, 0] if indices.dtype == torch.bool else indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every document."""
        super().batch_repeat_interleave(repeats)
        if self.continuations is not None:
            documents = torch.arange(len(self.continuations.recent))
            self._select(documents.repeat_interleave(repeats))

    def _select(self, index: Tensor) -> None:
        if self.continuations is not None:
            self.continuations.select(index)

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens in every layer, as ``SimMIMCacheLayer.crop`` does, or in none if one cannot.

        Raises:
            ValueError: a layer cannot, or the tokens have been counted for a copy head; nothing is changed.
        """
        if tokens_to_remove < 0 and self.continuations is not None:
            raise ValueError(
                f"crop: cannot forget {-tokens_to_remove} tokens: the copy head's table has put them over "
                "older ones; keep a copy (copy.deepcopy) before generating, or encode the shorter text again"
            )
        layers = [layer for layer in self.layers if isinstance(layer, SimMIMCacheLayer)]
        before = [copy.copy(layer.past) for layer in layers]
        try:
            super().crop(tokens_to_remove)
        except ValueError:
            for layer, past in zip(layers, before, strict=True):
                layer.past = past
            raise

    @property
    def pasts(self) -> list[SegmentCache]:
        """What the layers hold, from the first on; shorter than their number before the first token."""
        return [layer.past for layer in self.layers if isinstance(layer, SimMIMCacheLayer) and layer.past is not None]

    def save(self, path: str | PathLike[str], model: PreTrainedModel, *, made_from: Any = None) -> None:
        """Write the cache into a file (safetensors), which ``load`` reads for the same model only.

        Args:
            path: the file to make or replace; folders above it are made.
            model: the model that filled the cache.
            made_from: the token ids that the model read (a list or a tensor), or any other value that JSON can hold.
                The file keeps its SHA-256, so that ``load`` can tell whether the cache is of a given text.

        Raises:
            ShapeError: the cache is empty, or not of this model.
            CheckpointError: the file cannot be written.
            ConfigError: JSON cannot hold ``made_from``.
        """
        layers = model.config.num_hidden_layers
        if len(self.pasts) != layers:
            raise ShapeError(
                f"model: expected the one that filled this cache of {len(self.layers)} layers, of which "
                f"{len(self.pasts)} hold something; got one of {layers}"
            )
        write_pasts(self.pasts, self.continuations, Path(path), model, made_from)

    @classmethod
    def load(cls, path: str | PathLike[str], model: PreTrainedModel, *, made_from: Any = None) -> SimMIMCache:
        """Return the cache that ``save`` wrote, on the model's device.

        Args:
            path: the file.
            model: a model of the same settings, weights and dtype as the one that filled the cache.
            made_from: what was given to ``save``; None takes the cache of any text.

        Raises:
            CheckpointError: there is no such file, it is damaged or not of a cache, it is of another model, or it was
                made from something else.
        """
        pasts, continuations = read_pasts(Path(path), model, made_from)
        cache = cls(len(pasts))
        cache.continuations = continuations
        for layer, past in zip(cache.layers, pasts, strict=True):
            assert isinstance(layer, SimMIMCacheLayer)
            layer.past = past
        return cache

    @property
    def is_initialized(self) -> bool:
        """Return whether every layer holds something."""
        return all(isinstance(layer, CacheLayerMixin) and layer.is_initialized for layer in self.layers)


class MemoryCache(_LayerCache):
    """What a decoder's layers, and last a copy head, made of the memory.

    Args:
        num_layers: layers of the decoder, and one for the copy head.
        offloading: as for ``SimMIMCache``.
    """

    def __init__(self, num_layers: int, offloading: bool = False) -> None:
        super().__init__([MemoryCacheLayer() for _ in range(num_layers)], offloading)


class SimMIMEncoderDecoderCache(EncoderDecoderCache):
    """The caches of a decoder that reads a memory.

    Args:
        num_layers: layers of the decoder.
        offloading: as for ``SimMIMCache``.
    """

    def __init__(self, num_layers: int, offloading: bool = False) -> None:
        # The last layer of the memory's cache is for a copy head.
        super().__init__(SimMIMCache(num_layers, offloading), MemoryCache(num_layers + 1, offloading))

    def remember(
        self, number: int, rows: int, make: Callable[[], tuple[tuple[Tensor, ...], Tensor | None]]
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Return what a layer, or last the copy head, reads of the memory, and its mask: made at the first call.

        Args:
            number: of the layer.
            rows: targets that read it, as many of each document.
            make: makes it.
        """
        layer = self.cross_attention_cache.layers[number]
        assert isinstance(layer, MemoryCacheLayer)
        if not self.is_updated[number]:
            projected, mask = make()
            layer.fill(projected, mask, rows // len(projected[0]))
            self.is_updated[number] = True
        found = layer.read()
        self.cross_attention_cache.offload(number)
        return found

    def check_dynamic_cache(self, method: str) -> None:
        """Allow every method: both caches select, repeat and crop by themselves."""
