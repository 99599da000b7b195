"""Finds the checkpoint to resume training from: the newest complete one."""

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
# If one of these is missing, transformers resumes without it and without a warning.
_REQUIRED = (OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME, TRAINING_ARGS_NAME)
_RANDOM = ("rng_state.pth", "rng_state_0.pth")  # of one process, of the first of several
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

_NAMED = 3  # faults listed in an error; the others are counted

logger = logging.getLogger(__name__)


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the paths in a folder with the name of a checkpoint, newest first, complete or not."""
    if not folder.is_dir():
        return []
    found = {path: _NAME.fullmatch(path.name) for path in folder.iterdir()}
    steps = {path: int(match[1]) for path, match in found.items() if match}
    return sorted(steps, key=steps.__getitem__, reverse=True)


def newest_whole_checkpoint(folder: Path, *, with_best: bool = False) -> tuple[Path | None, dict[Path, str]]:
    """Return the newest complete checkpoint, or None, and the faults of all newer ones.

    Args:
        folder: the folder of the checkpoints.
        with_best: whether the checkpoint with the lowest validation loss so far must be complete, too.
    """
    faults: dict[Path, str] = {}
    for path in checkpoints_in(folder):
        faults[path] = _fault(path, with_best=with_best)
        if not faults[path]:
            del faults[path]
            return path, faults
    return None, faults


def checkpoint_to_resume(folder: Path, *, with_best: bool = False) -> Path | None:
    """Return the checkpoint to resume from, None if there is none yet.

    Newer incomplete checkpoints are logged and renamed with the prefix `broken-`.

    Raises:
        CheckpointError: there are checkpoints, but none is complete.
    """
    whole, faults = newest_whole_checkpoint(folder, with_best=with_best)
    problem = "; ".join(f"{path} is not whole: {fault}" for path, fault in list(faults.items())[:_NAMED])
    problem += f"; nor are {len(faults) - _NAMED} others" if len(faults) > _NAMED else ""
    if whole is None and faults:
        raise CheckpointError(
            f"{problem}. There is no whole checkpoint to go on from: bring one back from a copy, or move everything in "
            f"{folder} away and resume once more, which begins this phase of the training anew"
        )
    if faults:
        logger.warning("%s. The run goes on from %s", problem, whole)
    for path in faults:
        _set_aside(path)
    return whole


def _set_aside(path: Path) -> None:
    """Rename a checkpoint so that it is no longer found."""
    for number in range(1000):
        aside = path.with_name(f"broken-{path.name}" + (f"-{number + 1}" if number else ""))
        if not os.path.lexists(aside):
            path.rename(aside)
            return


def _fault(path: Path, *, with_best: bool) -> str:
    """Return why training cannot resume from a checkpoint; empty if it can."""
    fault = fault_of(path)
    if fault:
        return fault
    for name in _REQUIRED:
        if not (path / name).is_file():
            return f"{name} is missing"
    for names in (_RANDOM, _WEIGHTS):
        if not any((path / name).is_file() for name in names):
            return f"{names[0]} is missing"
    try:
        state = json.loads(read_regular_text(path / TRAINER_STATE_NAME))
        best = state["best_model_checkpoint"] if with_best else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return f"{TRAINER_STATE_NAME} is damaged"
    if best is None or (best_path := path.with_name(Path(best).name)) == path:
        return ""
    fault = fault_of(best_path)
    return f"it needs the checkpoint of the lowest loss, and {best_path.name} is not whole: {fault}" if fault else ""
