"""Checks the values of training settings whose type alone is not enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers.training_args import trainer_log_levels

from simmim.errors import ConfigError

__all__ = ["check_ranges"]

_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class _Range:
    """A range of numbers, closed unless `open_low` or `open_high` is set.

    Attributes:
        low: the lower bound.
        high: the upper bound.
        open_low: whether the lower bound is excluded.
        open_high: whether the upper bound is excluded.
        besides: one more number with a special meaning.
    """

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    besides: float | None = None

    def holds(self, value: float) -> bool:
        if value == self.besides:
            return True
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        low = f"more than {self.low:g}" if self.open_low else f"{self.low:g} or more"
        high = "" if self.high in (math.inf, _LARGEST) else f" and {'less than' if self.open_high else 'at most'} "
        besides = "" if self.besides is None else f", or {self.besides:g}"
        return f"a number of {low}{high}{f'{self.high:g}' if high else ''}{besides}"


_POSITIVE, _NOT_NEGATIVE = _Range(0, open_low=True), _Range(0)
_COUNT = _Range(1, _LARGEST)
_SHARE = _Range(0, 1, open_high=True)
_RANGES: dict[str, _Range] = {
    "learning_rate": _NOT_NEGATIVE,  # 0 leaves the weights unchanged, which helps to inspect a run
    "weight_decay": _NOT_NEGATIVE,
    "adam_beta1": _SHARE,
    "adam_beta2": _SHARE,
    "adam_epsilon": _POSITIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "label_smoothing_factor": _SHARE,
    "neftune_noise_alpha": _NOT_NEGATIVE,
    "num_train_epochs": _Range(0, _LARGEST, open_low=True),
    "max_steps": _Range(1, _LARGEST, besides=-1),
    "warmup_steps": _Range(0, _LARGEST),
    "logging_steps": _Range(0, _LARGEST, open_low=True),
    "eval_steps": _Range(0, _LARGEST, open_low=True),
    "save_steps": _Range(0, _LARGEST, open_low=True),
    "eval_delay": _Range(0, _LARGEST),
    "per_device_train_batch_size": _COUNT,
    "per_device_eval_batch_size": _COUNT,
    "gradient_accumulation_steps": _COUNT,
    "eval_accumulation_steps": _COUNT,
    "save_total_limit": _COUNT,
    "torch_empty_cache_steps": _COUNT,
    "dataloader_num_workers": _Range(0, 1024),
    "dataloader_prefetch_factor": _COUNT,
    "ddp_timeout": _COUNT,
    "ddp_bucket_cap_mb": _COUNT,
    "generation_max_length": _COUNT,
    "generation_num_beams": _COUNT,
}
# Settings that a run does not support, and why.
_UNSET: dict[str, str] = {
    "save_only_model": "a checkpoint holds all that --resume needs",
    "use_liger_kernel": "it has no kernels for these models",
    "enable_jit_checkpoint": "a run that is asked to stop saves itself anyway",
    "deepspeed": "a run uses one process",
    "fsdp": "a run uses one process",
    "parallelism_config": "a run uses one process",
}
_CHOSEN = frozenset(
    {
        *("log_level", "log_level_replica"),
        *("torch_compile_backend", "torch_compile_mode", "dataloader_multiprocessing_context"),
    }
)
_CHECKPOINTING: dict[str, type] = {
    **{"use_reentrant": bool, "preserve_rng_state": bool, "debug": bool, "early_stop": bool, "offload": bool},
    **{"determinism_check": str, "every_n_layers": int},
}


def _choices() -> dict[str, list[str]]:
    """Return the allowed values of settings that transformers does not check, or only when training runs."""
    return {
        "log_level": list(trainer_log_levels),
        "log_level_replica": list(trainer_log_levels),
        "torch_compile_backend": torch._dynamo.list_backends(exclude_tags=()),
        "torch_compile_mode": ["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"],
        "dataloader_multiprocessing_context": torch.multiprocessing.get_all_start_methods(),
    }


def check_ranges(settings: Mapping[str, Any], source: str) -> None:
    """Refuse training settings whose values are out of range.

    Args:
        settings: keyword arguments of `transformers.Seq2SeqTrainingArguments`, with the declared types.
        source: the name of the section in an error.

    Raises:
        ConfigError: a value is out of range; the error states the range.
    """
    for key, value in settings.items():
        where = f"{source}.{key}"
        if key in _RANGES and value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float) or not _RANGES[key].holds(value):
                raise ConfigError(f"{where}: expected {_RANGES[key]}, got {value!r}")
        elif key in _UNSET and value:
            raise ConfigError(f"{where}: expected none, since {_UNSET[key]}, got {value!r:.60}; remove it")
        elif key in ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs") and value:
            _check_checkpointing(value, where)
        elif key in _CHOSEN and value:
            allowed = _choices()[key]
            if value not in allowed:
                raise ConfigError(f"{where}: expected one of {', '.join(sorted(allowed))}, got {value!r:.60}")


def _check_checkpointing(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected a mapping, got {value!r:.60}")
    for key, setting in value.items():
        if key not in _CHECKPOINTING:
            raise ConfigError(f"{where}.{key}: no such key; allowed: {', '.join(sorted(_CHECKPOINTING))}")
        kind = _CHECKPOINTING[key]
        if type(setting) is not kind or (isinstance(setting, int) and kind is int and not _COUNT.holds(setting)):
            raise ConfigError(f"{where}.{key}: expected {kind.__name__}, got {setting!r:.60}")
        if key == "determinism_check" and setting not in ("default", "none"):
            raise ConfigError(f"{where}.{key}: expected default or none, got {setting!r:.60}")
