"""Loads what a model is evaluated on, and says where it is from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simmim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from datasets import Dataset

    from simmim.tasks.training.sections import DataSection, Recipe

__all__ = ["COLUMNS", "EvaluationData", "load_evaluation_data", "recipe_data", "translates"]

COLUMNS = ("document", "summary", "text", "messages")

logger = logging.getLogger(__name__)


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

    def narrowed(self, *, without_near_duplicates: bool, limit: int | None, seed: int = 0) -> EvaluationData:
        """Leave out near-duplicates, if asked to, and draw so many of the others; the origin says how many.

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
            origin |= {"drawn": limit, "drawn_from": len(examples), "seed": seed}
            examples = examples.shuffle(seed=seed).select(range(limit))
        return EvaluationData(examples, self.validation, origin)


def load_evaluation_data(
    model: Path,
    corpus: str | None,
    file: Path | None,
    split: str,
    *,
    language: bool = False,
    columns: Mapping[str, str | None] | None = None,
) -> EvaluationData:
    """Load what to measure on and what to choose the baselines on.

    Args:
        model: the folder of the model, whose recipe names the data where neither `corpus` nor `file` does.
        corpus: a corpus by name.
        file: JSON lines; the baselines are then chosen on it, too.
        split: `validation` or `test`.
        language: read texts or conversations, whichever there are, not documents with summaries.
        columns: what `document`, `summary`, `text` and `messages` are called in `file`; None stands for the name in
            the recipe of the model, or else for the same.

    Raises:
        ConfigError: nothing names the data, or both do.
        DataError: the data cannot be read.
    """
    from simmim.data.corpora import load_corpus, load_manifest

    given = {key: name for key, name in (columns or {}).items() if name is not None}
    if given and file is None:
        raise ConfigError(f"--{next(iter(given))}: expected --file, whose column it names; pass both, or neither")
    if corpus is not None and file is not None:
        raise ConfigError("--corpus and --file: expected one of them, got both")
    if file is not None:
        if "text" in given and "messages" in given:
            raise ConfigError("--text, --messages: expected one of them, got both")
        examples = _read(str(file), _names(model, given), language)
        return EvaluationData(examples, examples, _described(str(file), examples))
    if corpus is not None:
        splits = load_corpus(corpus)
        origin = {"corpus": corpus, "split": split, "manifest": load_manifest(corpus)}
        return EvaluationData(splits[split], splits["validation"], origin)
    data = recipe_data(model)
    if data is None:
        raise ConfigError(
            f"--corpus, --file: expected one of them, as {model} holds no recipe.yaml that names the data"
        )
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
    names = {key: name for key in COLUMNS if (name := getattr(data, key)) is not None}
    examples = _read(chosen, names, language)
    return EvaluationData(
        examples, _read(data.validation, names, language), _described(chosen, examples) | {"split": split}
    )


def recipe_data(model: Path) -> DataSection | None:
    """Return what the recipe of a saved model says of its data; None if it has none.

    Raises:
        ConfigError: the recipe is broken.
    """
    recipe = _recipe(model)
    return None if recipe is None else recipe.data


def translates(model: Path) -> bool:
    """Tell whether the recipe of a saved model is of the task `translation`."""
    try:
        recipe = _recipe(model)
    except ConfigError:
        return False
    return recipe is not None and recipe.task == "translation"


def _recipe(model: Path) -> Recipe | None:
    if not (model / "recipe.yaml").is_file():
        return None
    from simmim.train.run_config import load_recipe

    return load_recipe(model / "recipe.yaml")


def _names(model: Path, given: dict[str, str]) -> dict[str, str]:
    """Return what the columns of a file are called that the model's recipe does not name."""
    try:
        data = None if given else recipe_data(model)
    except ConfigError as error:
        logger.warning("%s; so the columns of the file are expected to have their usual names", error)
        return {}
    return given if data is None else {key: name for key in COLUMNS if (name := getattr(data, key)) is not None}


def _read(path: str, names: Mapping[str, str], language: bool) -> Dataset:
    """Read a source by the names of its columns; of language conversations if the first row has some, else texts."""
    from simmim.data.examples import load_conversations, load_examples, load_texts
    from simmim.data.table import names_column

    if not language:
        return load_examples(path, document=names.get("document", "document"), summary=names.get("summary", "summary"))
    messages = names.get("messages", "messages")
    if "messages" in names or ("text" not in names and names_column(path, messages)):
        return load_conversations(path, messages=messages)
    return load_texts(path, text=names.get("text", "text"))


def _described(path: str, rows: Dataset) -> dict[str, Any]:
    from simmim.data.table import source_record

    return {"file": path, "manifest": source_record(rows)}
