"""The recipe of a training run: what may stand in its YAML file, read strictly and checked before anything starts."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from transformers import Seq2SeqTrainingArguments

from simmim.errors import ConfigError
from simmim.models import SimMIMConfig
from simmim.tasks.training.sections import (
    BatchingSection,
    DataSection,
    EarlyStoppingSection,
    PretrainingSection,
    Recipe,
    TokenizerSection,
)
from simmim.train.ranges import check_ranges
from simmim.train.tasks import TASKS
from simmim.train.yaml_reader import parse_yaml, read_yaml

__all__ = ["load_recipe", "resolved_recipe"]

# What the recipe says elsewhere, the tokenizer decides or the run owns: no keys of `model` and `training`.
_MODEL_OWNED = frozenset(
    {
        *("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
        *("is_encoder_decoder", "use_cache", "training_length"),
    }
)
_TRAINING_OWNED = frozenset(
    {
        *("output_dir", "seed", "data_seed", "resume_from_checkpoint", "do_train", "do_eval", "do_predict"),
        *("disable_tqdm", "include_num_input_tokens_seen", "local_rank"),
        *("remove_unused_columns", "label_names", "length_column_name"),
        *("train_sampling_strategy", "dataloader_drop_last", "restore_callback_states_from_checkpoint"),
    }
)
# The first phase is not evaluated, and its spans change from epoch to epoch, which lasting workers would not see.
_PRETRAINING_OWNED = _TRAINING_OWNED | {
    *("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "load_best_model_at_end"),
    *("metric_for_best_model", "greater_is_better", "dataloader_persistent_workers"),
}
_STRATEGIES = frozenset({"eval_strategy", "logging_strategy", "save_strategy"})
_SECTIONS: dict[str, type] = {
    "data": DataSection,
    "tokenizer": TokenizerSection,
    "batching": BatchingSection,
    "early_stopping": EarlyStoppingSection,
    "pretraining": PretrainingSection,
}
_LISTED = 40  # more keys than these are not listed in an error: they are those of transformers, and a hundred


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: the file.
        overrides: settings such as `training.max_steps=10` that replace what the file says; values are YAML.

    Returns:
        The recipe, every key and every type checked.

    Raises:
        ConfigError: the file is unreadable or no YAML, a key is unknown, or a value has the wrong type.
    """
    entries = read_yaml(path)
    if not isinstance(entries, dict):
        raise ConfigError(f"{path}: expected a mapping with {_listed(_keys(Recipe))}, got {_shown(entries)}")
    for override in overrides:
        _override(entries, override)
    source = f"{path} with --set {' '.join(map(_in_one_line, overrides))}" if overrides else str(path)
    try:
        recipe = TypeAdapter(Recipe).validate_python(entries)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from error
    _check_model(recipe.model, source)
    _check_training(recipe.training, f"{source}: training", _TRAINING_OWNED)
    if recipe.pretraining is not None:
        _check_training(recipe.pretraining.training, f"{source}: pretraining.training", _PRETRAINING_OWNED)
    try:
        TASKS.find(recipe.task)(recipe).check()
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    return recipe


def resolved_recipe(
    recipe: Recipe,
    model: SimMIMConfig,
    training: Seq2SeqTrainingArguments,
    pretraining: Seq2SeqTrainingArguments | None,
) -> dict[str, Any]:
    """Fill every default into a recipe.

    Args:
        recipe: the recipe as it was given.
        model: what its section `model` became.
        training: what its section `training` became.
        pretraining: what its section `pretraining.training` became, if it has one.

    Returns:
        A recipe that leaves nothing to a default, as it would stand in a file.
    """
    entries = dataclasses.asdict(recipe)
    chosen = model.to_dict()
    settings = set(SimMIMConfig.__annotations__) - _MODEL_OWNED if recipe.init_from is None else {"dropout"}
    entries["model"] = {key: chosen[key] for key in sorted(settings) if key in chosen}
    entries["training"] = _settings(training, _TRAINING_OWNED)
    if pretraining is not None:
        entries["pretraining"]["training"] = _settings(pretraining, _PRETRAINING_OWNED)
    if recipe.batching.max_tokens is not None:
        for section in (entries, entries["pretraining"] or {}):
            section.get("training", {}).pop("per_device_train_batch_size", None)
    return entries


def _settings(arguments: Seq2SeqTrainingArguments, owned: frozenset[str]) -> dict[str, Any]:
    """Return the arguments that a recipe may give, with plain values."""
    values = json.loads(arguments.to_json_string())
    return {key: value for key, value in values.items() if key in _training_keys() - owned}


def _training_keys() -> set[str]:
    return {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments) if field.init}


def _override(entries: dict[str, Any], override: str) -> None:
    """Set one dotted key in place."""
    source = f"--set {_in_one_line(override)}"
    key, equals, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not all([*parents, last]):
        raise ConfigError(f"--set: expected section.key=value, got {override!r}")
    for depth, parent in enumerate(parents, start=1):
        entries = entries.setdefault(parent, {})
        if not isinstance(entries, dict):
            raise ConfigError(f"{source}: expected {'.'.join(parents[:depth])} to be a section, it is a value")
    entries[last] = parse_yaml(text, source)


def _check_model(settings: dict[str, Any], source: str) -> None:
    """Refuse what SimMIMConfig does not know; its own checks see the values."""
    allowed = set(SimMIMConfig.__annotations__) - _MODEL_OWNED
    # transformers' own fields name types that it has not imported
    own = {"__annotations__": SimMIMConfig.__annotations__, "__module__": SimMIMConfig.__module__}
    hints = get_type_hints(type("Settings", (), own))
    for key, value in settings.items():
        if key not in allowed:
            raise ConfigError(_unknown(f"{source}: model.{key}", key, allowed))
        _check_type(hints[key], value, f"{source}: model: {key}")
    try:
        SimMIMConfig(**settings)
    except Exception as error:  # transformers wraps what a configuration raises in errors of several kinds
        raise ConfigError(f"{source}: model: {_in_one_line(str(error))}") from error


def _check_training(settings: dict[str, Any], source: str, owned: frozenset[str]) -> None:
    """Refuse what Seq2SeqTrainingArguments does not know, and values of another type than it declares."""
    hints = get_type_hints(Seq2SeqTrainingArguments)
    allowed = _training_keys() - owned
    for key, value in settings.items():
        if key in owned:
            raise ConfigError(f"{source}.{key}: the run sets this itself; remove it")
        if key not in allowed:
            raise ConfigError(_unknown(f"{source}.{key}", key, allowed))
        if key in _STRATEGIES and value is False:  # YAML's reading of a bare no
            settings[key] = value = "no"
        _check_type(hints[key], value, f"{source}.{key}")
    check_ranges(settings, source)


def _check_type(hint: Any, value: object, where: str) -> None:
    """Refuse a value of another type than a setting declares."""
    adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True))
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{where}: expected {inspect.formatannotation(hint)}, got {_shown(value)}") from error


def _explain(error: ValidationError, source: str) -> str:
    """Put the first complaint of pydantic into our words."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    where = f"{source}: {'.'.join(location)}" if location else source
    if first["type"] == "unexpected_keyword_argument":
        section = _SECTIONS.get(location[0], Recipe)
        return _unknown(where, location[-1], _keys(section))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("missing", "missing_argument"):
        return f"{where}: this key is required and missing"
    if first["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: {message[0].lower() + message[1:]}, got {_shown(first['input'])}"


def _unknown(where: str, key: str, allowed: Collection[str]) -> str:
    """Word the complaint about a key that nothing reads."""
    near = difflib.get_close_matches(key, allowed, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    names = _listed(allowed) if len(allowed) <= _LISTED else "the arguments of transformers.Seq2SeqTrainingArguments"
    return f"{where}: no such key{hint}; allowed: {names}"


def _keys(section: type) -> list[str]:
    return [field.name for field in dataclasses.fields(section)]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _in_one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _shown(value: object) -> str:
    return f"{value!r:.200} ({type(value).__name__})"
