"""Reads and writes the records of a run, and says in them and in the model's card what it was made from."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset
from huggingface_hub import ModelCard, ModelCardData
from transformers import PreTrainedModel

from simmim import __version__
from simmim.atomic import replaced_file
from simmim.data.corpora import load_manifest
from simmim.data.redistribution import data_notice, learnt_from
from simmim.data.table import source_record
from simmim.errors import CheckpointError
from simmim.files import read_regular_text
from simmim.tasks.checkpoints import part_digests
from simmim.tasks.training.sections import DataSection, Recipe

__all__ = ["data_manifest", "initial_model", "model_card", "package_versions", "read_json", "write_json", "write_yaml"]


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a record; return None if the file is missing.

    Raises:
        CheckpointError: the file cannot be read, or is not a JSON object.
    """
    try:
        found = json.loads(read_regular_text(path))
    except FileNotFoundError:
        if path.is_symlink():
            raise CheckpointError(f"{path}: expected a record of the run, it is a link to nothing") from None
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the record of the run: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the record of the run is damaged, it is no JSON; {_bring_back()}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: the record of the run is damaged, it holds no object; {_bring_back()}")
    return found


def write_json(path: Path, entries: Mapping[str, Any]) -> None:
    """Write a record as JSON.

    Raises:
        OSError: it cannot be written.
    """
    with replaced_file(path) as stream:
        stream.write(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")


def write_yaml(path: Path, entries: Mapping[str, Any]) -> None:
    """Write a record as YAML.

    Raises:
        OSError: it cannot be written.
    """
    with replaced_file(path) as stream:
        yaml.safe_dump(dict(entries), stream, sort_keys=False, allow_unicode=True)


def _bring_back() -> str:
    return "bring it back from a copy (the folder of a finished model has one), or choose another output_dir"


_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


def package_versions() -> dict[str, str]:
    """Return the version of Python and of each package that has a say in the weights."""
    versions = {"python": platform.python_version(), "simmim": __version__}
    return versions | {name: version(name) for name in _PACKAGES}


def data_manifest(data: DataSection, splits: Mapping[str, Dataset]) -> dict[str, Any]:
    """Describe the examples of a run.

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


def model_card(folder: Path, model: PreTrainedModel) -> str:
    """Return the card in Markdown, with the metadata that hubs read."""
    about = ModelCardData(
        library_name="transformers",
        pipeline_tag="summarization" if model.config.is_encoder_decoder else "text-generation",
        tags=["simmim", "long-documents"],
    )
    text = [
        f"# {type(model).__name__}",
        f"{model.num_parameters():,} parameters, trained by `simmim train` with the recipe in `recipe.yaml`; "
        "`resolved.yaml` has every setting, `versions.json` the versions of packages, `data.json` the data.",
        "## Learnt from",
        data_notice(folder),
        "## Scores",
        "Not measured yet: `simmim evaluate`.",
    ]
    return str(ModelCard(f"---\n{about.to_yaml()}\n---\n\n" + "\n\n".join(text) + "\n"))
