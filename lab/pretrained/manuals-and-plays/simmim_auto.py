"""Gives transformers the classes of the installed package simmim; it lies beside every saved model.

With ``trust_remote_code=True`` a model is then loaded where simmim is installed but not imported.
"""

from simmim.models import (
    SimMIMConfig,
    SimMIMForCausalLM,
    SimMIMForConditionalGeneration,
    SimMIMForMaskedLM,
    SimMIMForSequenceClassification,
    SimMIMForTokenClassification,
    SimMIMModel,
)

__all__ = [
    "SimMIMConfig",
    "SimMIMForCausalLM",
    "SimMIMForConditionalGeneration",
    "SimMIMForMaskedLM",
    "SimMIMForSequenceClassification",
    "SimMIMForTokenClassification",
    "SimMIMModel",
]
