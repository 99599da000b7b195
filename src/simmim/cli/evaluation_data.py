"""Loads what a model is evaluated on, and says where it is from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simmim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["EvaluationData", "load_evaluation_data"]


@dataclass(frozen=True)
class EvaluationData:
    """Holds documents to measure on.

    Attributes:
        examples: rows with `document` and `summary`, with `text` or with `messages`, perhaps with `group` and
            `near_duplicate`.
        validation: rows to choose baselines on.
        origin: a corpus with its split and manifest, or a file with its size and hash.
    """

    examples: Dataset
    validation: Dataset
    origin: dict[str, Any]

    def narrowed(self, *, without_near_duplicates: bool, limit: int | None) -> EvaluationData:
        """Leave out near-duplicates, if asked to, and draw so many of the others (seed 0); the origin says how many.

        Raises:
            DataError: the rows do not say which are near-duplicates, or all are.
        """
        examples, origin = self.examples, dict(self.origin)
        marked = "near_duplicate" in examples.column_names
        if without_near_duplicates and not marked:
            raise DataError(
                "--without-near-duplicates: expected rows with near_duplicate (true or false), these have only "
                f"{', '.join(examples.column_names)}; leave the option out, or use a corpus that marks them"
            )
        if marked:
            alike = [bool(value) for value in examples["near_duplicate"]]
            origin["near_duplicates"] = sum(alike)
            if without_near_duplicates:
                examples = examples.select([row for row, value in enumerate(alike) if not value])
                origin["left_out_near_duplicates"] = sum(alike)
                if not len(examples):
                    raise DataError("--without-near-duplicates: expected rows that are none, all are; leave it out")
        if limit is not None and limit < len(examples):
            origin |= {"drawn": limit, "drawn_from": len(examples)}
            examples = examples.shuffle(seed=0).select(range(limit))
        return EvaluationData(examples, self.validation, origin)


def load_evaluation_data(
    model: Path, corpus: str | None, file: Path | None, split: str, *, language: bool = False
) -> EvaluationData:
    """Load what to measure on and what to choose the baselines on.

    Args:
        model: the folder of the model, whose recipe names the data where neither `corpus` nor `file` does.
        corpus: a corpus by name.
        file: JSON lines; the baselines are then chosen on it, too.
        split: `validation` or `test`.
        language: read texts or conversations, whichever there are, not documents with summaries.

    Raises:
        ConfigError: nothing names the data, or both do.
        DataError: the data cannot be read.
    """
    from simmim.data.corpora import load_corpus, load_manifest
    from simmim.data.examples import load_examples
    from simmim.train.run_config import load_recipe

    read: Callable[[Path], Dataset] = _load_language if language else load_examples
    if corpus is not None and file is not None:
        raise ConfigError("--corpus and --file: expected one of them, got both")
    if file is not None:
        examples = read(file)
        return EvaluationData(examples, examples, _described(file))
    if corpus is not None:
        splits = load_corpus(corpus)
        origin = {"corpus": corpus, "split": split, "manifest": load_manifest(corpus)}
        return EvaluationData(splits[split], splits["validation"], origin)
    if not (model / "recipe.yaml").is_file():
        raise ConfigError(
            f"--corpus, --file: expected one of them, as {model} holds no recipe.yaml that names the data"
        )
    data = load_recipe(model / "recipe.yaml").data
    if len(data.corpora) > 1:
        raise ConfigError(
            f"--corpus: expected one of {', '.join(data.corpora)}, all of which the model has learnt from; name one"
        )
    if data.corpora:
        return load_evaluation_data(model, data.corpora[0], None, split, language=language)
    chosen = getattr(data, split)
    if chosen is None:
        raise ConfigError(f"--split {split}: the recipe of {model} names no file for it; pass --file")
    assert data.validation is not None
    origin = _described(Path(chosen)) | {"split": split}
    return EvaluationData(read(Path(chosen)), read(Path(data.validation)), origin)


def _load_language(file: Path) -> Dataset:
    """Load conversations if the first row has `messages`, else texts."""
    from simmim.data.examples import load_conversations, load_texts, names_column

    return load_conversations(file) if names_column(file, "messages") else load_texts(file)


def _described(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"file": str(file), "manifest": {"bytes": file.stat().st_size, "sha256": digest}}
