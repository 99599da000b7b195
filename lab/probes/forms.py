"""The forms of SimMIM that a probe compares: presets of the configuration under a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.probes.probe import Probe
from simmim.errors import ConfigError
from simmim.models.configuration_simmim import LITERAL, SimMIMConfig

__all__ = ["FORMS", "Form", "model_config"]


@dataclass(frozen=True)
class Form:
    """A preset.

    Attributes:
        about: what it is, in a line.
        settings: of ``SimMIMConfig``, where they differ from its defaults.
        one_segment: make segments as long as the longest text, which is full attention.
    """

    about: str
    settings: Mapping[str, Any]
    one_segment: bool = False


FORMS: dict[str, Form] = {
    "default": Form("tokens of the own and the previous segment, and a state for every other one", {}),
    "literal": Form("the source document's form: one message for all tokens of a segment", LITERAL),
    "pyramid": Form("log S nodes of a pyramid in the place of all states", {"state_reach": "pyramid"}),
    "local": Form("tokens of the own segment only", {"state_read": "none", "neighbours": 0}),
    "window": Form("tokens of the own and the previous segment only", {"state_read": "none"}),
    "full": Form("full attention: one segment as long as the text", {"state_read": "none"}, one_segment=True),
}


def model_config(probe: Probe, form: str, settings: Mapping[str, Any], longest: int) -> SimMIMConfig:
    """Return the configuration of a form for a probe.

    Args:
        probe: says how many tokens there are.
        form: a name in ``FORMS``.
        settings: of ``SimMIMConfig``; what the form itself says goes before.
        longest: tokens of the longest text that the model will see.

    Raises:
        ConfigError: there is no such form, or a setting has no such value.
    """
    if form not in FORMS:
        raise ConfigError(f"form: expected one of {', '.join(FORMS)}; got {form!r}")
    values: dict[str, Any] = {**_DEFAULTS, **settings, **FORMS[form].settings}
    if FORMS[form].one_segment:
        values["segment_length"] = longest
    tokens = {"bos_token_id": None, "eos_token_id": None, "decoder_start_token_id": None}
    return SimMIMConfig(**{**values, **tokens, "vocab_size": probe.vocab_size, "pad_token_id": 0})


_DEFAULTS: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "segment_length": 16,
    "tie_state_projections": False,  # what the probes say was measured so (decision 0013)
    "copy_head": False,  # which would do in the place of attention what a probe asks of it (decision 0014)
}
