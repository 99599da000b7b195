"""Says what a run was made from: the packages, and the examples with their hashes."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Dataset

from simmim import __version__
from simmim.data.corpora import load_manifest
from simmim.data.examples import source_record
from simmim.data.redistribution import learnt_from
from simmim.errors import CheckpointError
from simmim.tasks.checkpoints import part_digests
from simmim.train.sections import DataSection, Recipe

__all__ = ["data_manifest", "initial_model", "package_versions"]

_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


def package_versions() -> dict[str, str]:
    """Return the version of Python and of each package that has a say in the weights."""
    versions = {"python": platform.python_version(), "simmim": __version__}
    return versions | {name: version(name) for name in _PACKAGES}


def data_manifest(data: DataSection, splits: Mapping[str, Dataset]) -> dict[str, Any]:
    """Describe the examples of a run.

    Args:
        data: where they come from.
        splits: the examples themselves, by the name of their split.

    Returns:
        The manifest of the corpus, or those of several by their names; for files of one's own the path, size in bytes,
        SHA-256 and rows of each split, as they were when the rows were read.
    """
    if data.corpora:
        manifests = {name: load_manifest(name) for name in data.corpora}
        return manifests if len(manifests) > 1 else manifests[data.corpora[0]]
    return {
        name: {"path": str(getattr(data, name)), **source_record(split), "rows": len(split)}
        for name, split in splits.items()
    }


def initial_model(recipe: Recipe) -> dict[str, Any] | None:
    """Describe the saved model that a run starts from: its folder, the SHA-256 of each of its files, and its corpora.

    None stands for no such model.

    Raises:
        CheckpointError: there is no such model.
    """
    if recipe.init_from is None:
        return None
    try:
        folder = Path(recipe.init_from)
        return {"path": recipe.init_from, "sha256": part_digests(folder), "learnt_from": learnt_from(folder)}
    except CheckpointError as error:
        raise CheckpointError(f"init_from: {error}") from error
