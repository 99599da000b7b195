"""Runs: resuming a stopped run with a damaged folder gives the same weights, or an error."""

from __future__ import annotations

from pathlib import Path
from random import Random

import yaml

from lab.fuzz.cases import Verdict
from lab.fuzz.commands import judge, run
from lab.fuzz.good import recipe
from lab.fuzz.mutations import copy_folder, damage_file

__all__ = ["runs"]


def runs(rng: Random, good: Path, workdir: Path) -> Verdict:
    """Resume a run with one or two damaged files; the weights must equal those of an undamaged run."""
    from safetensors.numpy import load_file

    stopped = copy_folder(good / "stopped", workdir / "run")
    for _ in range(rng.choice((1, 1, 2))):
        files = [path for path in sorted(stopped.rglob("*")) if path.is_file() and not path.is_symlink()]
        newest = [path for path in files if path.parent.name == "checkpoint-2"]
        damage_file(rng, rng.choice(newest if newest and rng.random() < 0.6 else files))
    entries = recipe(good) | {"output_dir": str(stopped)}
    (workdir / "recipe.yaml").write_text(yaml.safe_dump(entries), encoding="utf-8")
    result = run(workdir, "train", workdir / "recipe.yaml", "--resume")
    verdict = judge(result)
    if verdict.fault or not verdict.accepted:
        return verdict
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (stopped, good / "run"))
    if ours.keys() != theirs.keys() or any((ours[name] != theirs[name]).any() for name in ours):
        return Verdict(True, "lie", f"it went on to other weights: {result.stderr}")
    return verdict
