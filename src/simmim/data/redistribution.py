"""Tells which models may be passed on: not those that have learnt from texts which may not."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simmim.errors import CheckpointError, DataError

__all__ = ["check_redistributable", "data_notice", "learnt_from", "private_corpora"]


def private_corpora(manifest: Mapping[str, Any]) -> list[str]:
    """Return the corpora of a run that may not be passed on.

    Args:
        manifest: What `data.json` of a run holds: the manifest of a corpus, or those of several by their names.
    """
    return [str(one["corpus"]) for one in _corpora(manifest) if not one.get("redistributable", True)]


def data_notice(folder: Path) -> str:
    """Say in Markdown, for a model's card, what it has learnt from, and that it may not be passed on where that is so.

    Returns:
        A line for each corpus with its licence and for each file of the user's with its digest, those of the model
        that the training started from under a heading of their own; before them a warning where there is a reason.
    """
    data, initial = (_read(folder / name) for name in _RECORDS)
    paragraphs = []
    private = private_corpora(learnt_from(folder))
    if private:
        names = ", ".join(map(_code, private))
        paragraphs.append(f"**Do not pass this model on.** It has learnt from texts that may not be: {names}.")
    paragraphs += _listed(_sources(data))
    if initial:
        paragraphs += [
            "### Before, as the model that the training started from",
            f"The model in {_code(initial.get('path'))}; `initial_model.json` has the digests of its files.",
            *_listed(_sources(initial.get("learnt_from"))),
        ]
    return "\n\n".join(paragraphs)


def learnt_from(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what a saved model has learnt from, first as the model that its training started from, then itself.

    Args:
        folder: The folder of a trained model, with the records of its run.

    Returns:
        Of each corpus, by its name, what its manifest says of `corpus`, `redistributable` and `licence`; of each file
        of the user's, by split, path and digest, its `split`, `path`, `bytes`, `sha256` and `rows`.

    Raises:
        CheckpointError: A record is damaged.
    """
    data, initial = (_read(folder / name) for name in _RECORDS)
    return _sources(initial.get("learnt_from", {})) | _sources(data)


def check_redistributable(folder: Path) -> None:
    """Refuse to ship a model that has learnt from texts which may not be passed on.

    Args:
        folder: The folder of a trained model, with the records of its run.

    Raises:
        DataError: It has, or the model that it started from has, or `data.json`, which would say so, is missing.
    """
    record = folder / "data.json"
    if not record.is_file():
        raise DataError(f"{record}: expected the record of what the model has learnt from, it is missing; do not ship")
    private = private_corpora(learnt_from(folder))
    if private:
        raise DataError(
            f"{folder}: expected a model that may be passed on, this one has learnt from {', '.join(private)}; keep it "
            "on this machine"
        )


_RECORDS = ("data.json", "initial_model.json")
_FILE = ("path", "bytes", "sha256", "rows")


def _read(record: Path) -> dict[str, Any]:
    if not record.is_file():
        return {}
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{record}: the record is damaged ({error}); bring it back from a copy") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{record}: the record is damaged, it holds no object; bring it back from a copy")
    return content


def _sources(manifest: Any) -> dict[str, dict[str, Any]]:
    """Return the corpora and files that a manifest names, each by a name that no other has."""
    if not isinstance(manifest, Mapping):
        return {}
    found: dict[str, dict[str, Any]] = {}
    for one in _corpora(manifest):
        found[one["corpus"]] = {key: one[key] for key in ("corpus", "redistributable", "licence") if key in one}
    for name, one in manifest.items():
        if isinstance(one, Mapping) and isinstance(one.get("path"), str) and "corpus" not in one:
            file = {"split": one.get("split", name), **{key: one[key] for key in _FILE if key in one}}
            found[f"{file['split']} {file['path']} {str(file.get('sha256'))[:12]}"] = file
    return found


def _listed(sources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return corpora, then files, as paragraphs of Markdown."""
    corpora = [
        f"- {_code(one['corpus'])}: {one.get('licence', 'licence not recorded')}"
        for one in sources.values()
        if "corpus" in one
    ]
    files = [
        f"- {one['split']}: {_code(one['path'])}, {one.get('rows', 'unknown')} rows, SHA-256 {one.get('sha256')}"
        for one in sources.values()
        if "corpus" not in one
    ]
    paragraphs = ["\n".join(corpora)] if corpora else []
    paragraphs += ["Files of the user's: `data.json` has their digests.", "\n".join(files)] if files else []
    return paragraphs or ["What it has learnt from is not recorded."]


def _code(text: object) -> str:
    """Return a text in one line, as code."""
    return "`" + " ".join(str(text).replace("`", "'").split()) + "`"


def _corpora(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in [manifest, *manifest.values()]:
        if isinstance(one, Mapping) and isinstance(one.get("corpus"), str):
            yield one
