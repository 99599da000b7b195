"""Modules with parameters, in plain PyTorch; nothing here knows of transformers."""

from simmim.nn.aggregators import AGGREGATORS, Aggregator
from simmim.nn.decoding_weights import lay_out_for_decoding
from simmim.nn.hierarchy import HierarchicalEncoder, Pyramid
from simmim.nn.memory import MEMORIES, Memory
from simmim.nn.segment_encoders import SEGMENT_ENCODERS, SegmentEncoder
from simmim.nn.smi_attention import SMIAttention
from simmim.nn.state_pooling import STATE_POOLINGS, StatePooling
from simmim.nn.state_reach import STATE_REACHES, StateReach
from simmim.nn.state_read import STATE_READS, StateRead

__all__ = [
    "AGGREGATORS",
    "MEMORIES",
    "SEGMENT_ENCODERS",
    "STATE_POOLINGS",
    "STATE_REACHES",
    "STATE_READS",
    "Aggregator",
    "HierarchicalEncoder",
    "Memory",
    "Pyramid",
    "SMIAttention",
    "SegmentEncoder",
    "StatePooling",
    "StateReach",
    "StateRead",
    "lay_out_for_decoding",
]
