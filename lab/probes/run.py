"""Runs a probe from beginning to end, or on from where it was stopped: a model of one form, trained and scored."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lab.probes import PROBES, ProbeSettings, Score, guess_from_clue, model_config, score
from lab.probes.training import train_on_probe
from simmim.errors import CheckpointError, ConfigError
from simmim.train.records import read_json, write_json

__all__ = ["ProbeRun", "baseline", "run_probe"]


@dataclass(frozen=True)
class ProbeRun:
    """Says everything that a result depends on.

    Attributes:
        probe: a name in ``PROBES``.
        form: a name in ``FORMS``.
        settings: how the model is trained and where it is measured.
        seed: of the weights and the training texts; the test texts are the same for all seeds.
        examples: texts to measure on, at each length.
        bf16: compute in bfloat16.
    """

    probe: str
    form: str
    settings: ProbeSettings
    seed: int = 0
    examples: int = 200
    bf16: bool = False

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{self.probe}-{self.form}-seed{self.seed}"


def run_probe(run: ProbeRun, folder: Path, console: Console) -> dict[str, Any]:
    """Train and score, as far as the folder does not hold it yet.

    Args:
        run: what to do.
        folder: for the run; made if it does not exist.
        console: where to show the progress.

    Returns:
        ``parameters``, ``cpu_seconds`` of the training (None if it was stopped in between) and ``scores``.

    Raises:
        ConfigError: the folder was made with other settings.
        CheckpointError: it cannot be made.
    """
    probe = PROBES.find(run.probe)()
    settings = run.settings
    config = model_config(probe, run.form, settings.model, max(settings.length, *settings.test_lengths))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot make the folder: {error.strerror}") from error
    begun = _check_same(run, folder)
    result = folder / "result.json"
    if result.exists():
        return read_json(result) or {}
    started = time.process_time()
    model = train_on_probe(probe, config, settings, folder, seed=run.seed, bf16=run.bf16, console=console)
    trained = time.process_time() - started
    scores = []
    for length in settings.test_lengths:
        with console.status(f"measuring at {length:,} tokens"):
            scores.append(score_record(score(model, probe, length, examples=run.examples)))
    found = {
        "parameters": model.num_parameters(),
        "cpu_seconds": None if begun else round(trained, 1),
        "scores": scores,
    }
    write_json(result, found)
    return found


def baseline(run: ProbeRun) -> list[dict[str, Any]] | None:
    """Return the scores of the baseline that sees only the probe's clue; None for a probe without."""
    probe = PROBES.find(run.probe)()
    if probe.clue_name is None:
        return None
    return [score_record(guess_from_clue(probe, length, examples=run.examples)) for length in run.settings.test_lengths]


def score_record(found: Score) -> dict[str, Any]:
    """Return a score as JSON has it, with its 95 % interval."""
    low, high = found.total.interval()
    return {
        "length": found.length,
        **dataclasses.asdict(found.total),
        **{"accuracy": found.total.share, "low": low, "high": high},
        "groups": {str(group): dataclasses.asdict(part) for group, part in found.groups.items()},
    }


def _check_same(run: ProbeRun, folder: Path) -> bool:
    """Return whether the folder has been begun; refuse one of other settings."""
    path, wanted = folder / "run.json", json.loads(json.dumps(dataclasses.asdict(run)))
    started = read_json(path)
    if started is None:
        write_json(path, wanted)
        return False
    for key, value in _flat(wanted).items():
        if _flat(started).get(key) != value:
            raise ConfigError(
                f"{key}: the run in {folder} was started with {_flat(started).get(key)!r}, now it is {value!r}; use "
                "the same, or name another --work"
            )
    return True


def _flat(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of sections beside them."""
    flat: dict[str, Any] = {}
    for key, value in entries.items():
        flat |= _flat(value) if key == "settings" else {key: value}
    return flat
