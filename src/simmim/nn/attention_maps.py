"""Collects a layer's attention weights where they are asked for (``output_attentions``).

Fused attention keeps no weights. A layer that is given an ``AttentionMaps`` computes them in the open, hands them to
``keep`` and goes on with what ``keep`` returns, so that gradients with respect to the maps exist. Its methods return
the hooks ``on_weights`` of the functions in ``simmim.ops``, which undo what they reorder for the maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from simmim.nn.cache import SegmentCache
from simmim.ops.layout import SegmentLayout

__all__ = ["AttentionMaps"]


def _same(weights: Tensor) -> Tensor:
    return weights


@dataclass
class AttentionMaps:
    """Holds the maps of one layer by name.

    Attributes:
        kept: ``segment``: ``[B, H, N, K]`` what tokens give to the slots of the segment before, their own and the one
            after (as far as they read them: K is L, 2L or 3L; if there is one segment, L);
            ``state``: what tokens (``attend``: ``[B, H, N, C]``) or states (broadcasts: ``[B, H, S, C]``) give to the
            states, or to the pyramid's nodes, level by level; with a null slot its share is the last column;
            ``cross``: ``[B, H, N, M]`` what decoder tokens give to the memory. In ``attend`` the segment and the state
            map of a token sum to one together.
        spread: maps ``[R, T, ...]`` of packed tokens to ``[B, N, ...]``, for ``segment`` and token-wise ``state`` maps.
        pack: the inverse of ``spread``.
    """

    spread: Callable[[Tensor], Tensor] = _same
    pack: Callable[[Tensor], Tensor] = _same
    kept: dict[str, Tensor] = field(default_factory=dict)

    def keep(self, name: str, weights: Tensor) -> Tensor:
        """Keep ``[B, H, N, K]`` weights under a name and return those to go on with."""
        self.kept[name] = weights
        return weights

    def keep_tokens(self, name: str, weights: Tensor) -> Tensor:
        """Keep the weights ``[R, T, H, K]`` of tokens as ``[B, H, N, K]``; return those to go on with, as they came."""
        return self.pack(self.keep(name, self.spread(weights).transpose(1, 2)).transpose(1, 2))

    def of_segments(self, layout: SegmentLayout, *, causal: bool, neighbours: int) -> Callable[[Tensor], Tensor]:
        """Return the hook for the weights ``[S, H, L, K]`` of ``segment_attention``."""
        length = layout.segment_length
        # Attention gathers the own segment, that before, that after; maps show them in the order of the text.
        reads = (1, 0) if causal else (1, 0, 2)
        order = torch.cat([torch.arange(length) + block * length for block in reads])
        if neighbours == 0 or layout.single:
            order = torch.arange(length)
        order = order.to(layout.rank.device)

        def on_weights(weights: Tensor) -> Tensor:
            tokens = layout.to_tokens(weights.transpose(1, 2))
            near, far = tokens[..., : len(order)], tokens[..., len(order) :]
            near = self.keep_tokens("segment", near[..., order])[..., order.argsort()]
            if far.shape[-1]:
                far = self.keep_tokens("state", far)
            return layout.to_segments(torch.cat((near, far), dim=-1)).transpose(1, 2)

        return on_weights

    def of_states(self, layout: SegmentLayout) -> Callable[[Tensor], Tensor]:
        """Return the hook for the weights ``[S, H, C]`` of ``exchange_states``."""
        exists = torch.arange(layout.max_segments, device=layout.rank.device) < layout.counts[:, None]
        row = layout.document * layout.max_segments + layout.rank

        def on_weights(weights: Tensor) -> Tensor:
            table = layout.by_document(weights).masked_fill(~exists[..., None, None], 0)
            return self.keep("state", table.transpose(1, 2)).transpose(1, 2).flatten(0, 1).index_select(0, row)

        return on_weights

    def of_window(self, cache: SegmentCache) -> Callable[[Tensor], Tensor]:
        """Return the hook for the weights ``[B, H, 1, K]`` of ``decode_attention``: the window, then the states."""
        capacity, window = cache.capacity, cache.window
        # Slots in the order of positions, from the first segment that is read on.
        first = (cache.number - cache.neighbours) * cache.segment_length
        order = (first[:, None] + torch.arange(window, device=first.device)) % window

        def on_weights(weights: Tensor) -> Tensor:
            near, far = F.pad(weights[..., :capacity], (0, window - capacity)), weights[..., capacity:]
            shape = near.shape
            near = self.keep("segment", near.gather(-1, order[:, None, None].expand(shape)))
            near = near.gather(-1, order.argsort(1)[:, None, None].expand(shape))[..., :capacity]
            return torch.cat((near, self.keep("state", far) if far.shape[-1] else far), dim=-1)

        return on_weights

    def of_asking(self, *, with_null: bool) -> Callable[[Tensor], Tensor]:
        """Return the hook for the weights ``[B, H, 1, C + 1]`` that a state gives to the others."""

        def on_weights(weights: Tensor) -> Tensor:
            if with_null:
                return self.keep("state", weights)
            return torch.cat((self.keep("state", weights[..., :-1]), weights[..., -1:]), dim=-1)

        return on_weights
