"""The cache of a pretrained model that reads: keys without rotation, of all tokens or of the last ones only."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from simmim.errors import ConfigError, ShapeError
from simmim.reading.interface import UnrotatedCache, attach, decoder_of
from simmim.reading.layer import ReadingLayer
from simmim.reading.local_attention import Plan, Window, attend, plan_blocks, tables_of
from simmim.reading.rotation import Rotation, Tables, layer_type_of, uses_rotation

__all__ = ["EnoughRead", "ReadingCache", "ReadingLayer"]


class EnoughRead(Exception):
    """Ends the forward pass of a model at the last layer whose keys are wanted."""


class ReadingCache(Cache, UnrotatedCache):
    """Lets a pretrained model read a document of any length: every token attends to the sink and to near segments.

    Pass it as `past_key_values`. While `sink + near` covers the document the model computes what it computes with
    full attention; beyond that the cost of a token stays the same and no distance is longer than the window. In what
    chunks a document is read changes nothing.

    Args:
        model: a causal model of transformers that was loaded with `attn_implementation="simmim"`.
        segment: L, tokens of a segment.
        near: W / L, previous segments that a token reads in full.
        sink: A / L, first segments of the document, which every token reads.

    Raises:
        ConfigError: the model is of a family that is not supported, or has another attention.
    """

    layers: Any
    """A `ReadingLayer` for each layer of the model."""

    def __init__(self, model: PreTrainedModel, *, segment: int = 64, near: int = 8, sink: int = 1) -> None:
        for name, value, least in (("segment", segment, 1), ("near", near, 0), ("sink", sink, 0)):
            if value < least:
                raise ConfigError(f"{name}: expected at least {least}, got {value}")
        attach(model)
        decoder = decoder_of(model)
        self.rotation = Rotation(decoder)
        self.window = Window(segment, near, sink * segment)
        layers: list[Any] = [
            ReadingLayer(Window(segment, near, sink * segment, sliding_window_of(layer.self_attn)))
            for layer in decoder.layers
        ]
        super().__init__(layers=layers)
        self._truth = decoder.config.model_type != "phi3"
        self.last: int | None = None
        """The last layer whose keys are wanted; the forward pass ends there with `EnoughRead`. None for all layers."""
        self.first: Int[Tensor, "B"] | None = None
        self.valid: Bool[Tensor, "B N"] | None = None
        self.queries: dict[int, Float[Tensor, "B H C D"]] | None = None
        self._end = 0
        self._plans: dict[int | None, Plan] = {}
        self._tables: dict[tuple[int | None, str | None], tuple[Tables, Tables]] = {}

    def __bool__(self) -> bool:
        """Return False for Phi-3, which in `generate` throws a true cache away where its frequencies change.

        Keys without rotation need no other frequencies, and without the cache it would read with full attention.
        """
        return self._truth

    def begin(self, tokens: Tensor, mask: Tensor | None, position_ids: Tensor | None) -> None:
        """Take note of the padding of new tokens, before the first layer sees them.

        Args:
            tokens: their ids or embeddings, [B, C, ...].
            mask: 1 for tokens, 0 for padding, [B, past + C]; None for no padding among the new tokens.
            position_ids: checked only: positions are those in the document.

        Raises:
            ShapeError: the mask is of another shape, the batch of another size than what was read, or the positions
                are not those of one document a row.
        """
        batch, chunk = tokens.shape[:2]
        past = self.get_seq_length()
        if self.first is not None and len(self.first) != batch:
            raise ShapeError(f"input_ids: expected {len(self.first)} rows, as the cache has, got {batch}")
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        if mask is not None and shape != (batch, past + chunk):
            raise ShapeError(
                f"attention_mask: expected shape {(batch, past + chunk)}, past and new tokens, got {shape}"
            )
        if mask is not None:
            self.valid = (mask != 0).to(tokens.device)
        elif self.valid is not None:
            self.valid = torch.cat([self.valid, self.valid.new_ones(batch, chunk)], 1)
        if self.valid is not None and bool(self.valid.all()):
            self.valid = None
        self.first = torch.zeros(batch, dtype=torch.long, device=tokens.device)
        if self.valid is not None:
            self.first = self.valid.long().argmax(-1)
        _check_positions(position_ids, self.valid, chunk)
        self._end, self._plans, self._tables = past + chunk, {}, {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new tokens of a layer.

        Raises:
            ConfigError: they come from a model that this cache was not made for, which has rotated the keys.
            EnoughRead: this was the last layer that is wanted.
        """
        if self.layers[layer_idx].get_seq_length() + key_states.shape[2] != self._end:
            raise ConfigError(
                "past_key_values: expected a ReadingCache of this model, got one of another; make a new one"
            )
        both: tuple[Tensor, Tensor] = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        if layer_idx == self.last:
            raise EnoughRead
        return both

    def attend(
        self, attention: nn.Module, query: Float[Tensor, "B H C D"], scale: float, softcap: float | None
    ) -> Float[Tensor, "B C H D"]:
        """Attend from the new tokens of a layer to the sink and the near segments."""
        number: Any = attention.layer_idx
        if self.queries is not None:
            self.queries[number] = query
        layer, plan = self.layers[number], self.plan(number, query.shape[2])
        tables = None
        if uses_rotation(attention):
            kind = (layer.window.sliding, layer_type_of(attention))
            if kind not in self._tables:
                self._tables[kind] = tables_of(plan, self.rotation, query, kind[1])
            tables = self._tables[kind]
        keys, values = layer.gather(plan.keys)
        return attend(query, keys, values, plan, self.rotation, tables, scale, softcap)

    def plan(self, layer: int, chunk: int) -> Plan:
        """Return which keys the new tokens of a layer read; computed once a kind of layer and chunk."""
        window = self.layers[layer].window
        if window.sliding not in self._plans:
            assert self.first is not None, "begin comes first"
            self._plans[window.sliding] = plan_blocks(self._end - chunk, chunk, self.first, window, self.valid)
        return self._plans[window.sliding]

    def drop(self) -> None:
        """Forget the keys that no later token reads: memory stays the same however long the document is.

        All layers keep as many tokens as the one that needs most.

        Raises:
            ShapeError: there are several documents or padding.
        """
        if self.first is not None and (len(self.first) != 1 or self.valid is not None):
            raise ShapeError("drop: expected one document without padding; use a cache for each document")
        kept = self.kept - self.window.sink
        for layer in self.layers:
            if layer.is_initialized:
                layer.drop(kept)

    @property
    def kept(self) -> int:
        """Return how many tokens of each layer `drop` leaves: the sink and the last ones."""
        return self.window.sink + max(layer.window.reach for layer in self.layers)

    def load(self, keys_and_values: Float[Tensor, "layers 2 G M D"], read: int) -> None:
        """Go on behind `read` tokens; given are the first layers' keys and values of the sink and the last ones."""
        self.first = torch.zeros(1, dtype=torch.long, device=keys_and_values.device)
        for layer, (keys, values) in zip(self.layers, keys_and_values, strict=False):
            layer.update(keys[None], values[None])
            layer.dropped = read - keys.shape[1]

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens of all layers, to go on from an earlier one: a negative number.

        Raises:
            ShapeError: `drop()` has removed what the next token reads.
        """
        for layer in self.layers:
            layer.check_crop(tokens_to_remove)
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
        for layer in self.layers:
            layer.reorder_cache(beam_idx)
        self._select_rows(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the documents at indices."""
        super().batch_select_indices(indices)
        self._select_rows(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every document, for several answers to it."""
        super().batch_repeat_interleave(repeats)
        if self.first is not None:
            self._select_rows(torch.arange(len(self.first)).repeat_interleave(repeats))

    def reset(self) -> None:
        """Forget everything, to read another document."""
        super().reset()
        self.first = self.valid = self.queries = None


def sliding_window_of(attention: Any) -> int | None:
    """Return the tokens of a layer's own sliding window; None for a layer of full attention."""
    config = attention.config
    if config.model_type in ("mistral", "phi3"):  # all layers or none, whatever else the configuration says
        return config.sliding_window
    kinds = getattr(config, "layer_types", None)
    sliding = kinds is not None and kinds[attention.layer_idx] == "sliding_attention"
    return config.sliding_window if sliding else None


def _check_positions(position_ids: Tensor | None, valid: Tensor | None, chunk: int) -> None:
    """Raise if positions do not rise by 1 from token to token: several documents in a row, for example."""
    if position_ids is None or chunk < 2:
        return
    wrong = position_ids.diff(dim=-1) != 1
    if valid is not None:
        new = valid[:, -chunk:].to(wrong.device)
        wrong = wrong & new[:, 1:] & new[:, :-1]
    if bool(wrong.any()):
        raise ShapeError("position_ids: expected consecutive positions, one document in each row; leave them out")
