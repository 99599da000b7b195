"""The layers as transformers knows them: those of ``simmim.nn``, which gradient checkpointing computes again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from simmim.nn.block import DecoderBlock, EncoderBlock

__all__ = ["SimMIMDecoderLayer", "SimMIMEncoderLayer", "called_once"]


class SimMIMEncoderLayer(GradientCheckpointingLayer, EncoderBlock):
    """One layer of ``SimMIMModel``."""


class SimMIMDecoderLayer(GradientCheckpointingLayer, DecoderBlock):
    """One layer of ``SimMIMDecoder``."""


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
