"""The layers as transformers knows them: those of ``simmim.nn``, which gradient checkpointing computes again."""

from __future__ import annotations

from transformers.modeling_layers import GradientCheckpointingLayer

from simmim.nn.block import DecoderBlock, EncoderBlock

__all__ = ["SimMIMDecoderLayer", "SimMIMEncoderLayer"]


class SimMIMEncoderLayer(GradientCheckpointingLayer, EncoderBlock):
    """One layer of ``SimMIMModel``."""


class SimMIMDecoderLayer(GradientCheckpointingLayer, DecoderBlock):
    """One layer of ``SimMIMDecoder``."""
