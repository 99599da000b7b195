"""The folder of a training run: where its recipe, log, checkpoints and finished model lie, and how it is resumed."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import get_last_checkpoint

from simmim import __version__
from simmim.errors import CheckpointError, ConfigError
from simmim.train.atomic import replaced_file, replaced_folder
from simmim.train.run_config import Recipe
from simmim.train.yaml_reader import read_yaml

__all__ = ["RunFolder"]

_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


class RunFolder:
    """Keeps one training run.

    Attributes:
        checkpoints: the folder of the checkpoints, one each.
        log: JSON lines that say how the run goes.
        model: the finished model with its tokenizer, recipe and versions.

    Args:
        recipe: the recipe; its `output_dir` is the folder.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.path = Path(recipe.output_dir)
        self.checkpoints = self.path / "checkpoints"
        self.log = self.path / "log.jsonl"
        self.model = self.path / "model"
        self._recipe = recipe

    def open(self, *, resume: bool) -> Path | None:
        """Make the folder ready: a new run needs an unused one, a resumed run one that holds a checkpoint.

        Args:
            resume: whether to go on from the last checkpoint.

        Returns:
            The checkpoint to go on from; None for a new run.

        Raises:
            CheckpointError: the folder holds a run already, there is nothing to resume, or it cannot be written.
            ConfigError: the resumed run was started with other data, another tokenizer or another model.
        """
        found = get_last_checkpoint(str(self.checkpoints)) if self.checkpoints.is_dir() else None
        if resume:
            if found is None:
                raise CheckpointError(f"{self.path}: no checkpoint to resume from; train without --resume")
            self._check_same_run()
        elif found is not None or self.model.exists():
            raise CheckpointError(
                f"{self.path}: holds a training run already; go on with --resume, or choose another output_dir"
            )
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._write_recipe(self.path / "recipe.yaml")
        except OSError as error:
            raise CheckpointError(f"output_dir: cannot write to {self.path}: {error.strerror}") from error
        if not resume:
            self.log.unlink(missing_ok=True)
        return Path(found) if found is not None else None

    def save(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Path:
        """Write the finished model, whole or not at all.

        Args:
            model: the trained model.
            tokenizer: its tokenizer.

        Returns:
            The folder, which `from_pretrained` reads.
        """
        versions = {"python": platform.python_version(), "simmim": __version__}
        versions |= {name: version(name) for name in _PACKAGES}
        with replaced_folder(self.model) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            self._write_recipe(folder / "recipe.yaml")
            (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
        return self.model

    def _check_same_run(self) -> None:
        """Refuse to go on with weights that were made for something else."""
        started, wanted = read_yaml(self.path / "recipe.yaml"), self._recipe.to_dict()
        for section in ("data", "tokenizer", "model"):
            before, now = started[section], wanted[section]
            for key in sorted(before.keys() | now.keys()):
                if before.get(key) != now.get(key):
                    raise ConfigError(
                        f"{section}.{key}: the run in {self.path} was started with {before.get(key)!r}, the recipe "
                        f"says {now.get(key)!r}; resume with the same, or choose another output_dir"
                    )

    def _write_recipe(self, path: Path) -> None:
        with replaced_file(path) as stream:
            yaml.safe_dump(self._recipe.to_dict(), stream, sort_keys=False, allow_unicode=True)
