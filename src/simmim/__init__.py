"""SimMIM: transformers for long text, with SMI attention and hierarchical encoding."""

from simmim.errors import CheckpointError, ConfigError, DataError, ShapeError, SimMIMError
from simmim.models import (
    SimMIMConfig,
    SimMIMForCausalLM,
    SimMIMForConditionalGeneration,
    SimMIMForMaskedLM,
    SimMIMForSequenceClassification,
    SimMIMForTokenClassification,
    SimMIMModel,
    pretrained_path,
)
from simmim.nn import HierarchicalEncoder, SMIAttention, lay_out_for_decoding
from simmim.tasks.pipelines import pipeline

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "HierarchicalEncoder",
    "SMIAttention",
    "ShapeError",
    "SimMIMConfig",
    "SimMIMError",
    "SimMIMForCausalLM",
    "SimMIMForConditionalGeneration",
    "SimMIMForMaskedLM",
    "SimMIMForSequenceClassification",
    "SimMIMForTokenClassification",
    "SimMIMModel",
    "lay_out_for_decoding",
    "pipeline",
    "pretrained_path",
]
