"""Finds the checkpoint that training goes on from: the newest one that is whole."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path

from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from simmim.errors import CheckpointError
from simmim.files import read_regular_text
from simmim.train.manifest import fault_of

__all__ = ["checkpoint_to_resume", "checkpoints_in", "newest_whole_checkpoint"]

_NAME = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")
# What transformers loads if it exists, and goes on without, silently, if it does not.
_REQUIRED = (OPTIMIZER_NAME, SCHEDULER_NAME, "rng_state.pth", TRAINER_STATE_NAME, TRAINING_ARGS_NAME)
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

_NAMED = 3  # in an error; the others are counted

logger = logging.getLogger(__name__)


def checkpoints_in(folder: Path) -> list[Path]:
    """Return what is named as a checkpoint in a folder, the newest first, whole or not."""
    if not folder.is_dir():
        return []
    found = {path: _NAME.fullmatch(path.name) for path in folder.iterdir()}
    steps = {path: int(match[1]) for path, match in found.items() if match}
    return sorted(steps, key=steps.__getitem__, reverse=True)


def newest_whole_checkpoint(folder: Path, *, with_best: bool = False) -> tuple[Path | None, dict[Path, str]]:
    """Return the newest checkpoint that is whole, None for none, and why each newer one is not.

    Args:
        folder: the folder of the checkpoints.
        with_best: whether the checkpoint of the lowest validation loss until then must be whole, too.
    """
    faults: dict[Path, str] = {}
    for path in checkpoints_in(folder):
        faults[path] = _fault(path, with_best=with_best)
        if not faults[path]:
            del faults[path]
            return path, faults
    return None, faults


def checkpoint_to_resume(folder: Path, *, with_best: bool = False) -> Path | None:
    """Return the checkpoint to go on from, None if there has been none yet.

    Newer checkpoints that are not whole are named in the log and set aside: their name gets `broken-` before it.

    Args:
        folder: the folder of the checkpoints.
        with_best: as of `newest_whole_checkpoint`.

    Raises:
        CheckpointError: there are checkpoints, and none is whole.
    """
    whole, faults = newest_whole_checkpoint(folder, with_best=with_best)
    said = "; ".join(f"{path} is not whole: {fault}" for path, fault in list(faults.items())[:_NAMED])
    said += f"; nor are {len(faults) - _NAMED} others" if len(faults) > _NAMED else ""
    if whole is None and faults:
        raise CheckpointError(
            f"{said}. There is no whole checkpoint to go on from: bring one back from a copy, or move everything in "
            f"{folder} away and resume once more, which begins this phase of the training anew"
        )
    if faults:
        logger.warning("%s. The run goes on from %s", said, whole)
    for path in faults:
        _set_aside(path)
    return whole


def _set_aside(path: Path) -> None:
    """Rename a checkpoint so that it counts as none."""
    for number in range(1000):
        aside = path.with_name(f"broken-{path.name}" + (f"-{number + 1}" if number else ""))
        if not os.path.lexists(aside):
            path.rename(aside)
            return


def _fault(path: Path, *, with_best: bool) -> str:
    """Say why training cannot go on from a checkpoint; empty where it can."""
    fault = fault_of(path)
    if fault:
        return fault
    for name in _REQUIRED:
        if not (path / name).is_file():
            return f"{name} is missing"
    if not any((path / name).is_file() for name in _WEIGHTS):
        return f"{_WEIGHTS[0]} is missing"
    try:
        state = json.loads(read_regular_text(path / TRAINER_STATE_NAME))
        best = state["best_model_checkpoint"] if with_best else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return f"{TRAINER_STATE_NAME} is damaged"
    if best is None or (beside := path.with_name(Path(best).name)) == path:
        return ""
    fault = fault_of(beside)
    return f"it needs the checkpoint of the lowest loss, and {beside.name} is not whole: {fault}" if fault else ""
