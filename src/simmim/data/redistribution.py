"""Tells which models may be passed on: not those that have learnt from texts which may not."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simmim.errors import DataError

__all__ = ["check_redistributable", "data_notice", "learnt_from", "private_corpora"]


def private_corpora(manifest: Mapping[str, Any]) -> list[str]:
    """Return the corpora of a run that may not be passed on.

    Args:
        manifest: What `data.json` of a run holds: the manifest of a corpus, or those of several by their names.
    """
    return [str(one["corpus"]) for one in _corpora(manifest) if not one.get("redistributable", True)]


def data_notice(manifest: Mapping[str, Any]) -> str:
    """Say in Markdown, for a model's card, what it has learnt from, and that it may not be passed on where that is so.

    Args:
        manifest: As of `private_corpora`.

    Returns:
        A line for each corpus with its licence; before them a warning where there is a reason. Empty where the run
        used files of the user's.
    """
    lines = [f"- `{one['corpus']}`: {one.get('licence', 'licence not recorded')}" for one in _corpora(manifest)]
    private = private_corpora(manifest)
    if private:
        names = ", ".join(f"`{name}`" for name in private)
        lines = [f"**Do not pass this model on.** It has learnt from texts that may not be: {names}.", "", *lines]
    return "\n".join(lines)


def learnt_from(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the corpora that a saved model has learnt from, itself or as the model that its training started from.

    Args:
        folder: The folder of a trained model, with the records of its run.

    Returns:
        By their names, of each what its manifest says of `corpus`, `redistributable` and `licence`. Files of the user's
        have none.
    """
    found: dict[str, dict[str, Any]] = {}
    data, initial = (_read(folder / name) for name in ("data.json", "initial_model.json"))
    for one in [*_corpora(initial.get("learnt_from", {})), *_corpora(data)]:
        found[one["corpus"]] = {key: one[key] for key in ("corpus", "redistributable", "licence") if key in one}
    return found


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


def _read(record: Path) -> dict[str, Any]:
    if not record.is_file():
        return {}
    content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return content


def _corpora(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in [manifest, *manifest.values()]:
        if isinstance(one, Mapping) and isinstance(one.get("corpus"), str):
            yield one
