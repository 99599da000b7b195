"""The layers as transformers knows them: those of ``simmim.nn``, which gradient checkpointing computes again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from simmim.nn.block import DecoderBlock, EncoderBlock
from simmim.nn.segment_cache import SegmentCache

__all__ = ["SimMIMDecoderLayer", "SimMIMEncoderLayer", "called_once"]


class SimMIMEncoderLayer(GradientCheckpointingLayer, EncoderBlock):
    """One layer of ``SimMIMModel``."""


class SimMIMDecoderLayer(GradientCheckpointingLayer, DecoderBlock):
    """One layer of ``SimMIMDecoder``."""

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, *memory: Tensor, **others: Any
    ) -> tuple[Tensor, SegmentCache | None]:
        """Apply the block, as ``DecoderBlock`` does.

        What gets a gradient is passed by itself: reentrant checkpointing does not look into tuples.

        Args:
            hidden_states: ``[R, N, E]``: R texts.
            *memory: what the block reads of the memory.
            **others: the block's other arguments.
        """
        return DecoderBlock.forward(self, hidden_states, memory, **others)


@contextmanager
def called_once(layer: nn.Module) -> Iterator[None]:
    """Keep what a layer computes for a while, rather than compute it again: it fills a cache, or shows its maps."""
    assert isinstance(layer, GradientCheckpointingLayer)
    before = layer.gradient_checkpointing
    layer.gradient_checkpointing = False
    try:
        yield
    finally:
        layer.gradient_checkpointing = before
