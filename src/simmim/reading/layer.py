"""Keys and values of one layer of a pretrained model, without rotation, in a buffer that grows."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from simmim.errors import ShapeError
from simmim.reading.local_attention import Window

__all__ = ["ReadingLayer"]


class ReadingLayer(DynamicLayer):
    """Keys and values of one layer, `[B, G, N, D]`, the first N tokens of a buffer that grows by half as it fills.

    Attributes:
        window: what the layer's tokens attend to.
        dropped: how many tokens behind the sink are no longer here.
    """

    keys: Any  # tensors, once there is a token: transformers says `Tensor | None`
    values: Any

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window
        self.dropped = 0
        self._buffers: tuple[Tensor, ...] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take over dtype, device and shape of the first keys and values."""
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values; return the new ones."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.keys.shape[2]
        until = length + key_states.shape[2]
        buffers = self._grown(until)
        for buffer, new in zip(buffers, (key_states, value_states), strict=True):
            buffer[:, :, length:until] = new
        self._hold(buffers, until)
        return key_states, value_states

    def _hold(self, buffers: tuple[Tensor, ...], length: int) -> None:
        self._buffers = buffers
        self.keys, self.values = (buffer[:, :, :length] for buffer in buffers)

    def _grown(self, needed: int) -> tuple[Tensor, ...]:
        """Return buffers with space for `needed` tokens that hold what was read."""
        buffers, length = self._buffers, self.keys.shape[2]
        # outside of `torch.inference_mode` torch does not write into what was made inside
        writable = buffers is not None and (torch.is_inference_mode_enabled() or not buffers[0].is_inference())
        if buffers is not None and writable and buffers[0].shape[2] >= needed:
            return buffers
        capacity = max(needed, 64, length * 3 // 2)
        grown = tuple(t.new_empty(*t.shape[:2], capacity, t.shape[3]) for t in (self.keys, self.values))
        grown[0][:, :, :length], grown[1][:, :, :length] = self.keys, self.values
        return grown

    def get_seq_length(self) -> int:
        """Return how many tokens were read, those dropped included."""
        return self.keys.shape[2] + self.dropped if self.is_initialized else 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Ask transformers for no more than a causal mask of the new tokens: `Plan` has the true one."""
        return query_length, 0

    def gather(self, keys: Int[Tensor, "B n K"]) -> tuple[Float[Tensor, "B n G K D"], Float[Tensor, "B n G K D"]]:
        """Return the keys and values at indices of the document; anything for those that were dropped."""
        if self.dropped:
            keys = torch.where(keys < self.window.sink, keys, (keys - self.dropped).clamp(min=0))
        batch, blocks, _ = keys.shape
        if batch == 1:
            index = keys.flatten()
            picked = (t[0].index_select(1, index).unflatten(1, (blocks, -1)) for t in (self.keys, self.values))
            found = [t.transpose(0, 1)[None] for t in picked]
        else:
            rows = torch.arange(batch, device=keys.device)[:, None, None]
            found = [t.transpose(1, 2)[rows, keys].transpose(2, 3) for t in (self.keys, self.values)]
        return found[0], found[1]

    def drop(self, kept: int) -> None:
        """Forget all but the sink and the last tokens."""
        sink = self.window.sink
        extra = self.keys.shape[2] - sink - kept
        if extra > 0:
            left = [torch.cat([t[:, :, :sink], t[:, :, sink + extra :]], 2) for t in (self.keys, self.values)]
            self._hold(tuple(left), sink + kept)
            self.dropped += extra

    def check_crop(self, tokens_to_remove: int) -> None:
        """Raise if a token that follows would read what was dropped.

        Raises:
            ShapeError: it would.
        """
        length = self.get_seq_length() + tokens_to_remove
        floor = self.window.sink + self.dropped
        if self.dropped and tokens_to_remove and (length < floor or self.window.lowest(length) < floor):
            raise ShapeError(
                f"crop: expected fewer tokens than {-tokens_to_remove}: the token behind them reads keys which drop() "
                "has removed; use a cache without drop()"
            )

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last tokens: `tokens_to_remove` is negative, as transformers has it."""
        self.check_crop(tokens_to_remove)
        super().crop(tokens_to_remove)

    def reset(self) -> None:
        """Forget everything."""
        self.dropped, self._buffers = 0, None
        super().reset()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Put the documents into the order of beams."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the documents at indices; buffers keep their capacity."""
        if self._buffers is not None:
            index = indices.to(self.keys.device)
            self._hold(tuple(buffer[index] for buffer in self._buffers), self.keys.shape[2])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every document."""
        if self._buffers is not None:
            self.batch_select_indices(torch.arange(len(self.keys)).repeat_interleave(repeats))
