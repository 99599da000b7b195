"""The recipe of a training run: what may stand in its YAML file, read strictly and checked before anything starts."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import ConfigDict, Field, StrictInt, StrictStr, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from transformers import Seq2SeqTrainingArguments

from simmim.errors import ConfigError
from simmim.models import SimMIMConfig
from simmim.train.yaml_reader import parse_yaml, read_yaml

__all__ = ["DataSection", "Recipe", "TokenizerSection", "load_recipe"]

_STRICT = ConfigDict(extra="forbid")
_Count = Annotated[StrictInt, Field(gt=0)]

# What the recipe says elsewhere, the tokenizer decides or the run owns: no keys of `model` and `training`.
_MODEL_OWNED = frozenset(
    {
        *("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
        *("is_encoder_decoder", "use_cache"),
    }
)
_TRAINING_OWNED = frozenset(
    {
        *("output_dir", "seed", "data_seed", "resume_from_checkpoint", "do_train", "do_eval", "do_predict"),
        *("disable_tqdm", "include_num_input_tokens_seen", "local_rank"),
        *("remove_unused_columns", "label_names", "length_column_name"),
    }
)
_LISTED = 40  # more keys than these are not listed in an error: they are those of transformers, and a hundred


@dataclass(frozen=True, config=_STRICT)
class DataSection:
    """Says which examples a model learns from: a corpus by name, or files of one's own.

    Args:
        corpus: the name of a corpus, `debian-descriptions` for instance; then no files are given.
        train: JSON lines with `document` and `summary`, to learn from.
        validation: the same, to measure the loss on while training.
        test: the same, to measure with once at the end; training never reads it.
        max_source_tokens: cut every document to so many tokens; None keeps all of it, however long.
        max_target_tokens: cut every summary to so many tokens; None keeps all of it.
    """

    corpus: StrictStr | None = None
    train: StrictStr | None = None
    validation: StrictStr | None = None
    test: StrictStr | None = None
    max_source_tokens: _Count | None = None
    max_target_tokens: _Count | None = None

    def __post_init__(self) -> None:
        """Refuse a section that names both a corpus and files, or neither."""
        files = [name for name in ("train", "validation", "test") if getattr(self, name) is not None]
        if self.corpus is not None and files:
            raise ValueError(f"expected either corpus or files, got corpus and {', '.join(files)}; remove one of them")
        if self.corpus is None and not {"train", "validation"} <= set(files):
            raise ValueError(f"expected corpus, or both train and validation, got {', '.join(files) or 'none of them'}")


@dataclass(frozen=True, config=_STRICT)
class TokenizerSection:
    """Says where the tokenizer comes from: trained on the train split, or a folder that holds one.

    Args:
        vocab_size: how many tokens a tokenizer trained for this run knows.
        path: the folder of a tokenizer to use as it is.
    """

    vocab_size: _Count | None = None
    path: StrictStr | None = None

    def __post_init__(self) -> None:
        """Refuse a section that gives both ways, or neither."""
        if (self.vocab_size is None) == (self.path is None):
            raise ValueError("expected exactly one of vocab_size and path")


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """Holds everything that a training run depends on.

    Args:
        data: the examples.
        tokenizer: the tokenizer.
        output_dir: the folder of the run, relative to the working directory.
        model: keyword arguments of `SimMIMConfig`; the tokenizer decides the vocabulary and the special tokens.
        training: keyword arguments of `transformers.Seq2SeqTrainingArguments`.
        seed: the seed of everything random.
    """

    data: DataSection
    tokenizer: TokenizerSection
    output_dir: StrictStr
    model: dict[StrictStr, Any] = dataclasses.field(default_factory=dict)
    training: dict[StrictStr, Any] = dataclasses.field(default_factory=dict)
    seed: StrictInt = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as it would stand in a file, without the keys that are not set."""
        entries = dataclasses.asdict(self)
        for section in ("data", "tokenizer"):
            entries[section] = {key: value for key, value in entries[section].items() if value is not None}
        return entries


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
    source = f"{path} with --set {' '.join(overrides)}" if overrides else str(path)
    try:
        recipe = TypeAdapter(Recipe).validate_python(entries)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from error
    _check_model(recipe.model, source)
    _check_training(recipe.training, source)
    return recipe


def _override(entries: dict[str, Any], override: str) -> None:
    """Set one dotted key in place."""
    key, equals, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not all([*parents, last]):
        raise ConfigError(f"--set: expected section.key=value, got {override!r}")
    for depth, parent in enumerate(parents, start=1):
        entries = entries.setdefault(parent, {})
        if not isinstance(entries, dict):
            raise ConfigError(f"--set {override}: expected {'.'.join(parents[:depth])} to be a section, it is a value")
    entries[last] = parse_yaml(text, f"--set {override}")


def _check_model(settings: dict[str, Any], source: str) -> None:
    """Refuse what SimMIMConfig does not know; its own checks see the values."""
    allowed = set(SimMIMConfig.__annotations__) - _MODEL_OWNED
    for key in settings:
        if key not in allowed:
            raise ConfigError(_unknown(f"{source}: model.{key}", key, allowed))
    try:
        SimMIMConfig(**settings)
    except Exception as error:  # transformers wraps what a configuration raises in errors of several kinds
        raise ConfigError(f"{source}: model: {' '.join(str(error).split())}") from error


def _check_training(settings: dict[str, Any], source: str) -> None:
    """Refuse what Seq2SeqTrainingArguments does not know, and values of another type than it declares."""
    hints = get_type_hints(Seq2SeqTrainingArguments)
    allowed = {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments) if field.init} - _TRAINING_OWNED
    for key, value in settings.items():
        if key in _TRAINING_OWNED:
            raise ConfigError(f"{source}: training.{key}: the run sets this itself; remove it")
        if key not in allowed:
            raise ConfigError(_unknown(f"{source}: training.{key}", key, allowed))
        adapter: TypeAdapter[Any] = TypeAdapter(
            hints[key], config=ConfigDict(strict=True, arbitrary_types_allowed=True)
        )
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            expected = inspect.formatannotation(hints[key])
            raise ConfigError(f"{source}: training.{key}: expected {expected}, got {_shown(value)}") from error


def _explain(error: ValidationError, source: str) -> str:
    """Put the first complaint of pydantic into our words."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    where = f"{source}: {'.'.join(location)}" if location else source
    if first["type"] == "unexpected_keyword_argument":
        section = {"data": DataSection, "tokenizer": TokenizerSection}.get(location[0], Recipe)
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


def _shown(value: object) -> str:
    return f"{value!r} ({type(value).__name__})"
