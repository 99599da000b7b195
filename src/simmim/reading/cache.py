"""The cache of a pretrained model that reads: keys without rotation, of all tokens or of the last ones only."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from simmim.errors import ConfigError, ShapeError
from simmim.reading.interface import attach, decoder_of
from simmim.reading.local_attention import Plan, Window, plan_blocks
from simmim.reading.rotation import Rotation

__all__ = ["ReadingCache", "ReadingLayer"]


class ReadingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Keys and values of one layer, `[B, G, N, D]`, in a buffer that doubles as it fills.

    Attributes:
        dropped: how many tokens behind the sink are no longer here.
    """

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window
        self.dropped = 0
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values; return the new ones."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        length, chunk = self.keys.shape[2], key_states.shape[2]
        keys, values = self._grown(key_states, length + chunk), self._buffers[1]  # type: ignore[index]
        keys[:, :, length : length + chunk] = key_states
        values[:, :, length : length + chunk] = value_states
        self.keys, self.values = keys[:, :, : length + chunk], values[:, :, : length + chunk]
        return key_states, value_states

    def _grown(self, like: Tensor, needed: int) -> Tensor:
        """Return the buffer of the keys, with space for `needed` tokens."""
        length = self.keys.shape[2]
        buffers = self._buffers
        if buffers is None or buffers[0].shape[2] < needed or self.keys.data_ptr() != buffers[0].data_ptr():
            capacity = max(needed, 64, length * 3 // 2)
            buffers = (
                self.keys.new_empty(*self.keys.shape[:2], capacity, self.keys.shape[3]),
                self.values.new_empty(*self.values.shape[:2], capacity, self.values.shape[3]),
            )
            buffers[0][:, :, :length], buffers[1][:, :, :length] = self.keys, self.values
            self._buffers = buffers
        return buffers[0]

    def get_seq_length(self) -> int:
        """Return how many tokens were read, those dropped included."""
        return self.keys.shape[2] + self.dropped if self.is_initialized else 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Ask transformers for no more than a causal mask of the new tokens: `Plan` has the true one."""
        return query_length, 0

    def gather(self, keys: Int[Tensor, "B n K"]) -> tuple[Float[Tensor, "B n G K D"], Float[Tensor, "B n G K D"]]:
        """Return the keys and values at indices of the document."""
        if self.dropped:
            keys = torch.where(keys < self.window.sink, keys, keys - self.dropped)
        batch, blocks, _ = keys.shape
        if batch == 1:
            index = keys.flatten()
            picked = (t[0].index_select(1, index).unflatten(1, (blocks, -1)) for t in (self.keys, self.values))
            found = [t.transpose(0, 1)[None] for t in picked]
        else:
            rows = torch.arange(batch, device=keys.device)[:, None, None]
            found = [t.transpose(1, 2)[rows, keys].transpose(2, 3) for t in (self.keys, self.values)]
        return found[0], found[1]

    def drop(self) -> None:
        """Forget all but the sink and what the next token may read."""
        sink, kept = self.window.sink, self.window.reach
        extra = self.keys.shape[2] - sink - kept
        if extra > 0:
            self.keys = torch.cat([self.keys[:, :, :sink], self.keys[:, :, sink + extra :]], 2)
            self.values = torch.cat([self.values[:, :, :sink], self.values[:, :, sink + extra :]], 2)
            self._buffers = None
            self.dropped += extra

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens: `tokens_to_remove` is negative, as transformers has it."""
        if self.dropped and -tokens_to_remove > self.keys.shape[2] - self.window.sink:
            raise ShapeError(
                f"crop: expected at most {self.keys.shape[2] - self.window.sink} tokens, which this cache still "
                f"holds, got {-tokens_to_remove}; make the cache without drop()"
            )
        super().crop(tokens_to_remove)

    def reset(self) -> None:
        """Forget everything."""
        self.dropped, self._buffers = 0, None
        super().reset()


class ReadingCache(Cache):  # type: ignore[misc]  # transformers is untyped
    """Lets a pretrained model read a document of any length: every token attends to the sink and to near segments.

    Pass it as `past_key_values`. While `sink + near` covers the document the model computes what it computes with
    full attention; beyond that the cost of a token stays the same and no distance is longer than the window.

    Args:
        model: a causal model of transformers that was loaded with `attn_implementation="simmim"`.
        segment: L, tokens of a segment.
        near: W / L, previous segments that a token reads in full.
        sink: A / L, first segments of the document, which every token reads.

    Raises:
        ConfigError: the model is of a family that is not supported, or has another attention.
    """

    def __init__(self, model: PreTrainedModel, *, segment: int = 64, near: int = 8, sink: int = 1) -> None:
        for name, value, least in (("segment", segment, 1), ("near", near, 0), ("sink", sink, 0)):
            if value < least:
                raise ConfigError(f"{name}: expected at least {least}, got {value}")
        attach(model)
        decoder = decoder_of(model)
        self.rotation = Rotation(decoder)
        self.window = Window(segment, near, sink * segment)
        layers = [
            ReadingLayer(Window(segment, near, sink * segment, sliding_window_of(layer.self_attn)))
            for layer in decoder.layers
        ]
        super().__init__(layers=layers)
        self.first: Int[Tensor, "B"] | None = None
        self.valid: Bool[Tensor, "B N"] | None = None
        self.queries: dict[int, Float[Tensor, "B H C D"]] | None = None
        self._plans: dict[int | None, Plan] = {}

    def begin(self, batch: int, chunk: int, mask: Tensor | None, device: torch.device) -> None:
        """Take note of the padding of new tokens, before the first layer sees them.

        Args:
            batch: B.
            chunk: C, new tokens.
            mask: 1 for tokens, 0 for padding, [B, past + C]; None for no padding among the new tokens.
            device: where the tokens are.

        Raises:
            ShapeError: the mask is of another length, or the batch of another size than what was read.
        """
        past = self.get_seq_length()
        if self.first is not None and len(self.first) != batch:
            raise ShapeError(f"input_ids: expected {len(self.first)} rows, as the cache has, got {batch}")
        if mask is not None and mask.shape != (batch, past + chunk):
            raise ShapeError(
                f"attention_mask: expected shape {(batch, past + chunk)}, past and new tokens, got {tuple(mask.shape)}"
            )
        if mask is not None and not bool((mask != 0).all()):
            self.valid = mask != 0
            self.first = self.valid.long().argmax(-1)
        else:
            self.first = torch.zeros(batch, dtype=torch.long, device=device) if self.first is None else self.first
            if self.valid is not None:
                new = torch.ones(batch, past + chunk, dtype=torch.bool, device=device)
                new[:, :past] = self.valid[:, :past]
                self.valid = new
        self._plans = {}

    def plan(self, layer: int, chunk: int) -> Plan:
        """Return which keys the new tokens of a layer read; computed once a kind of layer and chunk.

        Call it after `update` of the layer.
        """
        window = self.layers[layer].window
        if window.sliding not in self._plans:
            past = self.layers[layer].get_seq_length() - chunk
            assert self.first is not None
            self._plans[window.sliding] = plan_blocks(past, chunk, self.first, window, self.valid)
        return self._plans[window.sliding]

    def drop(self) -> None:
        """Forget the keys that no later token reads: memory stays the same however long the document is.

        Raises:
            ShapeError: there are several documents or padding.
        """
        if self.first is not None and (len(self.first) != 1 or self.valid is not None):
            raise ShapeError("drop: expected one document without padding; use a cache for each document")
        for layer in self.layers:
            if layer.is_initialized:
                layer.drop()

    def load(self, keys_and_values: Float[Tensor, "layers 2 G M D"], read: int) -> None:
        """Go on behind `read` tokens, of which the keys and values of the sink and the last ones are given."""
        self.first = torch.zeros(1, dtype=torch.long, device=keys_and_values.device)
        for layer, (keys, values) in zip(self.layers, keys_and_values, strict=True):
            layer.update(keys[None], values[None])
            layer.dropped = read - keys.shape[1]

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens of all layers, to go on from an earlier one."""
        super().crop(tokens_to_remove)
        if self.valid is not None:
            self.valid = self.valid[:, : self.get_seq_length()]

    def _select_rows(self, index: Tensor) -> None:
        if self.first is not None:
            self.first = self.first[index.to(self.first.device)]
        if self.valid is not None:
            self.valid = self.valid[index.to(self.valid.device)]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Put the documents into the order of beams."""
        super().reorder_cache(beam_idx)
        self._select_rows(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the documents at indices."""
        super().batch_select_indices(indices)
        self._select_rows(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every document, for several answers to it."""
        super().batch_repeat_interleave(repeats)
        if self.first is not None:
            self._select_rows(torch.arange(len(self.first), device=self.first.device).repeat_interleave(repeats))

    def reset(self) -> None:
        """Forget everything, to read another document."""
        super().reset()
        self.first = self.valid = self.queries = None


def sliding_window_of(attention: Any) -> int | None:
    """Return the tokens of a layer's own sliding window; None for a layer of full attention."""
    kinds = getattr(attention.config, "layer_types", None)
    kind = None if kinds is None else kinds[attention.layer_idx]
    if kind is not None and kind != "sliding_attention":
        return None
    window = getattr(attention.config, "sliding_window", None)
    return window if kind is not None or attention.config.model_type in ("mistral", "phi3") else None
