"""The folder of a training run: where its records, checkpoints and finished model lie, and how it is resumed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import get_last_checkpoint

from simmim.atomic import remove_leftovers, replaced_file, replaced_folder
from simmim.errors import CheckpointError, ConfigError, DataError, is_full
from simmim.train.model_card import model_card
from simmim.train.provenance import package_versions
from simmim.train.run_config import load_recipe
from simmim.train.sections import Recipe
from simmim.train.write_failures import what_is_left, write_failures_named

__all__ = ["Phase", "RunFolder"]

# A checkpoint keeps these, or counts in them: another value in a resumed recipe would be ignored or mix up the data.
_FIXED_TRAINING = frozenset(
    {
        *("learning_rate", "weight_decay", "optim", "adam_beta1", "adam_beta2", "adam_epsilon"),
        *("per_device_train_batch_size", "gradient_accumulation_steps"),
    }
)
_RECORDS = ("recipe.yaml", "resolved.yaml", "versions.json", "data.json", "initial_model.json")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """Names what a phase of a run leaves in its folder.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints, one each."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """JSON lines that say how the phase goes."""
        return self.path / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's events, where the recipe asks for them."""
        return self.path / "tensorboard"

    @property
    def model(self) -> Path:
        """The finished model with its tokenizer and the records of the run."""
        return self.path / "model"

    def last_checkpoint(self) -> Path | None:
        """Return the checkpoint to go on from, if there is one."""
        found = get_last_checkpoint(str(self.checkpoints)) if self.checkpoints.is_dir() else None
        return None if found is None else Path(found)

    def has_begun(self) -> bool:
        """Tell whether there is anything that a new run would overwrite."""
        return self.last_checkpoint() is not None or self.model.exists()


class RunFolder:
    """Keeps one training run.

    Attributes:
        path: the folder.
        task: what training on the task leaves.
        pretraining: what the first phase leaves, if there is one.
        tokenizer: the folder of the tokenizer that all of them use.

    Args:
        recipe: the recipe; its `output_dir` is the folder.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.path = Path(recipe.output_dir)
        self.task = Phase(self.path)
        self.pretraining = Phase(self.path / "pretraining")
        self.tokenizer = self.path / "tokenizer"
        self._recipe = recipe

    @contextmanager
    def open(self, *, resume: bool) -> Iterator[None]:
        """Keep the folder for this process: a new run needs an unused one, a resumed run one that it has begun.

        What processes that were killed have left half-written is removed.

        Args:
            resume: whether to go on with what is there.

        Raises:
            CheckpointError: the folder holds a run already or nothing to resume, another process trains in it, or it
                cannot be written.
            ConfigError: the resumed run was started with other settings.
        """
        if resume:
            if not (self.path / "recipe.yaml").exists():
                raise CheckpointError(f"{self.path}: no checkpoint to resume from; train without --resume")
            self._check_same_run()
        elif self.task.has_begun() or self.pretraining.has_begun():
            raise CheckpointError(
                f"{self.path}: holds a training run already; go on with --resume, or choose another output_dir"
            )
        with _refusals_named(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with _locked(self.path):
            with _refusals_named(self.path):
                self._make_ready(resume)
            try:
                yield
            except OSError as error:
                if not is_full(error):
                    raise
                raise CheckpointError(
                    f"{self.path}: cannot write: {error.strerror}. Make room. {what_is_left(self.task.checkpoints)}"
                ) from error

    def record(
        self,
        data: Mapping[str, Any],
        resolved: Mapping[str, Any],
        initial_model: Mapping[str, Any] | None = None,
        *,
        resume: bool,
    ) -> None:
        """Write down what the run is made from; a resumed run must be made from the same.

        Args:
            data: the manifest of the examples.
            resolved: the recipe with every default.
            initial_model: the saved model that the run starts from; None for none.
            resume: whether the run goes on.

        Raises:
            DataError: the run was started with other examples.
            CheckpointError: the run was started from another model.
        """
        initial = self.path / "initial_model.json"
        if resume and initial_model is not None and _read_json(initial) not in (None, initial_model):
            raise CheckpointError(
                f"init_from: the model in {initial_model['path']} is not that which the run in {self.path} was started "
                f"from (compare {initial.name} there); bring that back, or choose another output_dir"
            )
        before = _read_json(self.path / "data.json") if resume else None
        if before is not None and before != json.loads(json.dumps(data)):
            raise DataError(
                f"data: the examples are not those that the run in {self.path} was started with (compare data.json "
                "there); bring those back, or choose another output_dir"
            )
        versions = package_versions()
        started = _read_json(self.path / "versions.json") if resume else None
        if started is not None and started != versions:
            changed = [
                f"{name} {started.get(name)} -> {now}" for name, now in versions.items() if started.get(name) != now
            ]
            logger.warning("resumed with other packages, so the last bits may differ: %s", ", ".join(changed))
        _write_json(self.path / "data.json", data)
        if initial_model is not None:
            _write_json(initial, initial_model)
        _write_json(self.path / "versions.json", versions)
        _write_yaml(self.path / "resolved.yaml", resolved)

    def save(self, phase: Phase, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Path:
        """Write the finished model of a phase, whole or not at all.

        Args:
            phase: where it belongs.
            model: the trained model.
            tokenizer: its tokenizer.

        Returns:
            The folder, which `from_pretrained` reads.
        """
        with write_failures_named(phase.model, phase.checkpoints), replaced_folder(phase.model) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            for name in _RECORDS:
                if (self.path / name).exists():
                    shutil.copy(self.path / name, folder / name)
            (folder / "README.md").write_text(model_card(folder, model), encoding="utf-8")
        return phase.model

    def save_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write the tokenizer of the run."""
        with replaced_folder(self.tokenizer) as folder:
            tokenizer.save_pretrained(folder)

    def _make_ready(self, resume: bool) -> None:
        phases = (self.task, self.pretraining) if self._recipe.pretraining is not None else (self.task,)
        for phase in phases:
            phase.checkpoints.mkdir(parents=True, exist_ok=True)
            remove_leftovers(phase.path)
            remove_leftovers(phase.checkpoints)
            if not resume:
                phase.log.unlink(missing_ok=True)
        if not resume and self.tokenizer.exists():
            shutil.rmtree(self.tokenizer)
        if not resume:
            (self.path / "initial_model.json").unlink(missing_ok=True)
        _write_yaml(self.path / "recipe.yaml", self._recipe.to_dict())

    def _check_same_run(self) -> None:
        """Refuse to go on with weights, or an order of the data, that were made for something else."""
        started = dict(_flat(load_recipe(self.path / "recipe.yaml").to_dict()))
        wanted = dict(_flat(self._recipe.to_dict()))
        for key in sorted(started.keys() | wanted.keys()):
            *sections, name = key.split(".")
            free = key == "output_dir" or ("training" in sections and name not in _FIXED_TRAINING)
            if not free and started.get(key) != wanted.get(key):
                raise ConfigError(
                    f"{key}: the run in {self.path} was started with {started.get(key)!r}, the recipe "
                    f"says {wanted.get(key)!r}; resume with the same, or choose another output_dir"
                )


@contextmanager
def _refusals_named(path: Path) -> Iterator[None]:
    """Say of a folder that cannot be written that the recipe names it."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"output_dir: cannot write to {path}: {error.strerror}") from error


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Go through settings with their dotted names."""
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out of a folder; the lock goes with the process, however that ends."""
    if sys.platform == "win32":  # which cannot lock a folder
        yield
        return
    import fcntl

    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise CheckpointError(
            f"{path}: another process trains here; wait for its end, or choose another output_dir"
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _write_json(path: Path, entries: Mapping[str, Any]) -> None:
    with replaced_file(path) as stream:
        stream.write(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")


def _write_yaml(path: Path, entries: Mapping[str, Any]) -> None:
    with replaced_file(path) as stream:
        yaml.safe_dump(dict(entries), stream, sort_keys=False, allow_unicode=True)
