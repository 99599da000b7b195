"""SimMIM: transformers for long text, with SMI attention and hierarchical encoding.

Importing this costs next to nothing: a name that needs torch or transformers is loaded when it is first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from simmim.errors import CheckpointError, ConfigError, DataError, ShapeError, SimMIMError
from simmim.registration import register_when_needed

if TYPE_CHECKING:
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

_MODULES = {
    "HierarchicalEncoder": "simmim.nn",
    "SMIAttention": "simmim.nn",
    "SimMIMConfig": "simmim.models",
    "SimMIMForCausalLM": "simmim.models",
    "SimMIMForConditionalGeneration": "simmim.models",
    "SimMIMForMaskedLM": "simmim.models",
    "SimMIMForSequenceClassification": "simmim.models",
    "SimMIMForTokenClassification": "simmim.models",
    "SimMIMModel": "simmim.models",
    "lay_out_for_decoding": "simmim.nn",
    "pipeline": "simmim.tasks.pipelines",
    "pretrained_path": "simmim.models",
}
"""Where each lazy name is defined; the imports under TYPE_CHECKING say the same to type checkers."""


_PACKAGES = ("models", "nn", "ops", "tasks")
"""Folders that `simmim.models` and the like name without an import of their own."""


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"simmim.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_PACKAGES})


register_when_needed()
