"""Modules with parameters, in plain PyTorch; nothing here knows of transformers."""

from simmim.nn.aggregators import AGGREGATORS, Aggregator
from simmim.nn.attend import AttendAttention
from simmim.nn.decoding_weights import lay_out_for_decoding
from simmim.nn.hierarchy import HierarchicalEncoder, Pyramid
from simmim.nn.memory import MEMORIES, Memory
from simmim.nn.smi_attention import STATE_READS, SMIAttention
from simmim.nn.states import STATE_POOLINGS, STATE_REACHES, AllStates, StatePooling
from simmim.nn.variants.segment_encoders import SEGMENT_ENCODERS, SegmentEncoder

__all__ = [
    "AGGREGATORS",
    "MEMORIES",
    "SEGMENT_ENCODERS",
    "STATE_POOLINGS",
    "STATE_REACHES",
    "STATE_READS",
    "Aggregator",
    "AllStates",
    "AttendAttention",
    "HierarchicalEncoder",
    "Memory",
    "Pyramid",
    "SMIAttention",
    "SegmentEncoder",
    "StatePooling",
    "lay_out_for_decoding",
]
