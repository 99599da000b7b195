"""The models that the benchmark of language compares: one size, one tokenizer, another attention each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from simmim import SimMIMConfig, SimMIMForCausalLM
from simmim.errors import ConfigError
from simmim.models.configuration_simmim import LITERAL

__all__ = ["FORMS", "LanguageSize", "build_language_model"]

FORMS = {
    "default": "SimMIM, default",
    "states": "SimMIM without its copy head",
    "shared": "SimMIM, states weighted as one",
    "turned": "SimMIM, states with positions",
    "untied": "SimMIM, states with projections of their own",
    "pyramid": "SimMIM, pyramid of states",
    "shift": "SimMIM, shifted borders",
    "literal": "SimMIM, literal form",
    "window": "own and previous segment, no states",
    "local": "own segment only, no states",
    "full": "full attention",
    "window_copying": "own and previous segment, no states, copy head",
    "full_copying": "full attention, copy head",
}
"""What is compared, by name."""


@dataclass(frozen=True)
class LanguageSize:
    """Says how large the models are.

    Attributes:
        vocab_size: tokens of the tokenizer.
        hidden_size: E.
        intermediate_size: width of the default form's FFN; the others' are chosen so that numbers of parameters agree.
        layers: how many.
        heads: H.
        segment_length: L of all but full attention.
        sequence_length: tokens of a training sequence: the one segment of full attention.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    segment_length: int
    sequence_length: int


def build_language_model(form: str, size: LanguageSize) -> SimMIMForCausalLM:
    """Build a model with as many parameters as the default form's.

    What other forms have more or less of is taken from, or given to, their FFN. With the same seed, forms whose weights
    have the same shapes begin with the same weights. `full` is the same class with one segment as long as a sequence:
    beyond it, its context begins anew.

    Args:
        form: a key of `FORMS`.
        size: of the default form.

    Raises:
        ConfigError: the FFN is too narrow to give what the form has more of.
    """
    with torch.device("meta"):  # counted without weights, which would draw random numbers
        goal = _parameters(_of("default", size, size.intermediate_size))
        base = _parameters(_of(form, size, size.intermediate_size))
        step = _parameters(_of(form, size, size.intermediate_size + 1)) - base
    width, least = size.intermediate_size + round((goal - base) / step), size.hidden_size
    if width < least:
        raise ConfigError(
            f"--intermediate-size: expected {size.intermediate_size + least - width} or more, so that the FFN of the "
            f"form {form} still has a width of {least} (hidden_size) when all have as many parameters; got "
            f"{size.intermediate_size}"
        )
    return _of(form, size, width)


def _parameters(model: SimMIMForCausalLM) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _of(form: str, size: LanguageSize, intermediate_size: int) -> SimMIMForCausalLM:
    window = {"state_read": "none"}
    # a whole sequence is one segment: there is no neighbour
    full = {"state_read": "none", "neighbours": 0, "segment_length": size.sequence_length}
    plain = {"copy_head": False}
    settings: dict[str, dict[str, Any]] = {
        "default": {},
        "states": plain,
        "shared": {"state_weight": "shared"},
        "turned": {"partial_rotary_factor": 1.0},
        "untied": {"tie_state_projections": False},
        "pyramid": {"state_reach": "pyramid"},
        "shift": {"segment_shift": size.segment_length // 2},
        "literal": LITERAL,
        "window": window | plain,
        "local": {"state_read": "none", "neighbours": 0} | plain,
        "full": full | plain,
        "window_copying": window,
        "full_copying": full,
    }
    sizes = {
        "vocab_size": size.vocab_size,
        "hidden_size": size.hidden_size,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "segment_length": size.segment_length,
        "training_length": size.sequence_length,
    }
    return SimMIMForCausalLM(SimMIMConfig(**{**sizes, **settings[form]}))
