"""Modules with parameters, in plain PyTorch; nothing here knows of transformers."""

from simmim.nn.aggregators import AGGREGATORS, Aggregator
from simmim.nn.hierarchy import HierarchicalEncoder, Pyramid
from simmim.nn.smi_attention import SMIAttention
from simmim.nn.state_pooling import STATE_POOLINGS, StatePooling
from simmim.nn.state_read import STATE_READS, StateRead

__all__ = [
    "AGGREGATORS",
    "STATE_POOLINGS",
    "STATE_READS",
    "Aggregator",
    "HierarchicalEncoder",
    "Pyramid",
    "SMIAttention",
    "StatePooling",
    "StateRead",
]
