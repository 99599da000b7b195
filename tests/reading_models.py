"""Tiny random models of every supported family, in which positions matter."""

from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from simmim.reading.interface import FAMILIES

__all__ = ["CASES", "CONFIGS", "draw", "own_attention", "tiny"]

_CONFIG_NAMES = {
    **{"gemma2": "Gemma2Config", "gemma3_text": "Gemma3TextConfig", "granite": "GraniteConfig", "llama": "LlamaConfig"},
    **{"mistral": "MistralConfig", "phi3": "Phi3Config", "qwen2": "Qwen2Config", "qwen3": "Qwen3Config"},
    "smollm3": "SmolLM3Config",
}
assert set(_CONFIG_NAMES) == set(FAMILIES)

_SIZES = {
    **{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "initializer_range": 0.2, "max_position_embeddings": 256},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
_OWN: dict[str, dict[str, Any]] = {
    "gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 11, "attn_logit_softcapping": 5.0},
    "gemma3_text": {
        **{"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 11},
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
        },
    },
    "granite": {"attention_multiplier": 0.3, "residual_multiplier": 0.7},
    "mistral": {"sliding_window": None},
    "phi3": {"sliding_window": None},
}


def _rope(**parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 100.0, **parameters}}


_LONG = {
    "original_max_position_embeddings": 64,
    "rope_parameters": {
        **{"rope_type": "longrope", "rope_theta": 100.0},
        **{"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0], "factor": 4.0},
    },
}
_PARTIAL = {"rope_theta": 100.0, "partial_rotary_factor": 0.5}
_SLIDING = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in FAMILIES},
    "linear": ("llama", _rope(rope_type="linear", factor=3.0)),
    "dynamic": ("llama", _rope(rope_type="dynamic", factor=3.0)),
    "llama3": (
        "llama",
        _rope(
            **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
            original_max_position_embeddings=32,
        ),
    ),
    "yarn": ("qwen3", _rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)),
    "yarn without positions": ("smollm3", _rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)),
    "longrope": ("phi3", _LONG),
    "partial": ("phi3", {"rope_parameters": _PARTIAL | {"rope_type": "default"}}),
    "partial longrope": (
        "phi3",
        {
            "original_max_position_embeddings": 64,
            "rope_parameters": _LONG["rope_parameters"]
            | _PARTIAL
            | {"short_factor": [1.0, 1.2], "long_factor": [2.0, 4.0]},
        },
    ),
    "bias": ("llama", {"attention_bias": True}),
    "head_dim": ("qwen3", {"head_dim": 16, "attention_bias": True}),
    "mistral sliding": ("mistral", {"sliding_window": 9}),
    "phi3 sliding": ("phi3", {"sliding_window": 9}),
    "qwen2 sliding": ("qwen2", _SLIDING),
    "qwen3 sliding": ("qwen3", _SLIDING),
    "smollm3 sliding": ("smollm3", {"use_sliding_window": True, "sliding_window": 9}),
}
CASES = list(CONFIGS)


def tiny(case: str, attention: str = "simmim", **more: Any) -> PreTrainedModel:
    """Return a model of a case, always with the same weights, in float32."""
    family, own = CONFIGS[case]
    settings = _SIZES | _rope(rope_type="default") | _OWN.get(family, {}) | own | more
    config = getattr(transformers, _CONFIG_NAMES[family])(**settings)
    torch.manual_seed(7)
    model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.5)
    return model


def own_attention(case: str, **more: Any) -> PreTrainedModel:
    """Return the same model with its own attention."""
    return tiny(case, "eager" if CONFIGS[case][0] == "gemma2" else "sdpa", **more)


def draw(batch: int, length: int) -> Tensor:
    """Return random token ids, none of them special."""
    return torch.randint(3, 64, (batch, length))
