"""The folder of a training run: where its records, checkpoints and finished model lie, and how it is resumed."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.atomic import locked, remove_leftovers, replaced_folder
from simmim.errors import CheckpointError, ConfigError, DataError, is_full
from simmim.tasks.training.sections import Recipe
from simmim.train.manifest import check_manifest, write_manifest
from simmim.train.phase import Phase
from simmim.train.records import model_card, package_versions, read_json, write_json, write_yaml
from simmim.train.run_config import load_recipe
from simmim.train.write_failures import what_is_left, write_failures_named

__all__ = ["RunFolder"]

# A checkpoint keeps these, or counts in them: another value in a resumed recipe would be ignored or mix up the data.
_FIXED_TRAINING = frozenset(
    {
        *("learning_rate", "weight_decay", "optim", "adam_beta1", "adam_beta2", "adam_epsilon"),
        *("per_device_train_batch_size", "gradient_accumulation_steps"),
    }
)
_BUSY = "another process trains here; wait for its end, or choose another output_dir"
_RECORDS = ("recipe.yaml", "resolved.yaml", "versions.json", "data.json", "initial_model.json")

logger = logging.getLogger(__name__)


class RunFolder:
    """Keeps one training run.

    Attributes:
        path: the folder.
        task: what training on the task leaves.
        pretraining: what the first phase leaves, if there is one.
        tokenizer: the folder of the tokenizer that all of them use.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.path = Path(recipe.output_dir)
        self.task = Phase(self.path)
        self.pretraining = Phase(self.path / "pretraining")
        self.tokenizer = self.path / "tokenizer"
        self._recipe = recipe

    def has_begun(self) -> bool:
        """Tell whether there is anything that a new run would overwrite."""
        return self.task.has_begun() or self.pretraining.has_begun()

    @contextmanager
    def open(self, *, resume: bool) -> Iterator[None]:
        """Keep the folder for this process: a new run needs an unused one, a resumed run one that it has begun.

        What processes that were killed have left half-written is removed.

        Raises:
            CheckpointError: the folder holds a run already or nothing to resume, another process trains in it, or it
                cannot be written.
            ConfigError: the resumed run was started with other settings.
        """
        if resume:
            if not os.path.lexists(self.path / "recipe.yaml"):
                self._refuse_missing("recipe.yaml")
                raise CheckpointError(f"{self.path}: no checkpoint to resume from; train without --resume")
            self._check_same_run()
        elif self.has_begun():
            raise CheckpointError(
                f"{self.path}: holds a training run already; go on with --resume, or choose another output_dir"
            )
        with ExitStack() as stack:
            with _refusals_named(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.path, _BUSY))
                self._make_ready(resume)
            try:
                yield
            except OSError as error:
                if not is_full(error):
                    raise
                raise CheckpointError(
                    f"{self.path}: cannot write: {error.strerror}. Free some space. "
                    f"{what_is_left(self.task.checkpoints)}"
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

        Raises:
            DataError: the run was started with other examples.
            CheckpointError: the run was started from another model.
        """
        initial = self.path / "initial_model.json"
        before = self._read_record("data.json") if resume else None
        model_before = self._read_record(initial.name) if resume and initial_model is not None else None
        started = self._read_record("versions.json") if resume else None
        if model_before not in (None, initial_model):
            assert initial_model is not None
            raise CheckpointError(
                f"init_from: the model in {initial_model['path']} is not that which the run in {self.path} was started "
                f"from (compare {initial.name} there); bring that back, or choose another output_dir"
            )
        if before is not None and before != json.loads(json.dumps(data)):
            raise DataError(
                f"data: the examples are not those that the run in {self.path} was started with (compare data.json "
                "there); bring those back, or choose another output_dir"
            )
        versions = package_versions()
        if started is not None and started != versions:
            changed = [
                f"{name} {started.get(name)} -> {now}" for name, now in versions.items() if started.get(name) != now
            ]
            logger.warning("resumed with other packages, so the last bits may differ: %s", ", ".join(changed))
        with _refusals_named(self.path):
            write_json(self.path / "data.json", data)
            if initial_model is not None:
                write_json(initial, initial_model)
            write_json(self.path / "versions.json", versions)
            write_yaml(self.path / "resolved.yaml", resolved)

    def save(self, phase: Phase, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Path:
        """Write the finished model of a phase, whole or not at all.

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
            if phase == self.pretraining:  # the next phase loads it
                write_manifest(folder)
        return phase.model

    def save_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write the tokenizer of the run."""
        with write_failures_named(self.tokenizer, self.task.checkpoints), replaced_folder(self.tokenizer) as folder:
            tokenizer.save_pretrained(folder)
            write_manifest(folder)

    def has_tokenizer(self) -> bool:
        """Tell whether the run has its tokenizer already, whole.

        Raises:
            CheckpointError: the tokenizer is not whole, or missing where there are weights that were trained with it.
        """
        if not os.path.lexists(self.tokenizer):
            self._refuse_missing(self.tokenizer.name)
            return False
        check_manifest(
            self.tokenizer, f"Bring the folder back from a copy, or move {self.path} away and train without --resume"
        )
        return True

    def _read_record(self, name: str) -> dict[str, Any] | None:
        """Read a record of a run that is resumed; None if it was stopped before it wrote any."""
        found = read_json(self.path / name)
        if found is None:
            self._refuse_missing(name)
        return found

    def _refuse_missing(self, name: str) -> None:
        """Refuse a run that has checkpoints and lacks what is written before the first."""
        if self.has_begun():
            raise CheckpointError(
                f"{self.path / name} is missing, without which the settings of the run cannot be compared; "
                "bring it back from a copy, or choose another output_dir"
            )

    def _make_ready(self, resume: bool) -> None:
        phases = (self.task, self.pretraining) if self._recipe.pretraining is not None else (self.task,)
        for phase in phases:
            phase.checkpoints.mkdir(parents=True, exist_ok=True)
            remove_leftovers(phase.path)
            remove_leftovers(phase.checkpoints)
            if not resume:
                phase.log.unlink(missing_ok=True)
        if not resume and self.tokenizer.is_dir() and not self.tokenizer.is_symlink():
            shutil.rmtree(self.tokenizer)
        elif not resume:
            self.tokenizer.unlink(missing_ok=True)
        if not resume:
            (self.path / "initial_model.json").unlink(missing_ok=True)
        write_yaml(self.path / "recipe.yaml", self._recipe.to_dict())

    def _check_same_run(self) -> None:
        """Refuse to go on with weights, or an order of the data, that were made for something else."""
        try:
            started = dict(_flat(load_recipe(self.path / "recipe.yaml").to_dict()))
        except ConfigError as error:
            raise CheckpointError(
                f"{error} (this is the record of what the run was started with: bring it back from a copy, or choose "
                "another output_dir)"
            ) from error
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
    except CheckpointError:  # is an OSError, and names itself
        raise
    except OSError as error:
        raise CheckpointError(f"output_dir: cannot write to {path}: {error.strerror}") from error


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Go through settings with their dotted names."""
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
