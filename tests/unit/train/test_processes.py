"""Tests that several processes train what one trains: the same batches, losses and weights."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.distributed.device_mesh import DeviceMesh

import ranks as rank_pool
from simmim.train.run_config import load_recipe
from simmim.train.trainer import train

SETTINGS = {"optim": "sgd", "learning_rate": 0.5, "max_grad_norm": 1.0, "gradient_accumulation_steps": 2}
"""Of plain gradient descent, which does not blow up what rounding leaves."""


@pytest.fixture(scope="module")
def pool() -> Iterator[rank_pool.Ranks]:
    started = rank_pool.start()
    yield started
    started.close()


def recipe_in(folder: Path, make: Callable[[Path], Path], **training: Any) -> Path:
    folder.mkdir()
    path = make(folder)
    entries = yaml.safe_load(path.read_text())
    entries["training"].pop("per_device_train_batch_size")
    entries["batching"] = {"max_tokens": 90}  # some batches have fewer rows than there are processes
    entries["training"] |= SETTINGS | training
    path.write_text(yaml.safe_dump(entries))
    return path


def trained(mesh: DeviceMesh, recipe: Path, resume: bool = False) -> str:
    """Train on this rank as a process that torchrun started; return what was logged."""
    os.environ |= {
        **{"RANK": str(mesh.get_local_rank()), "LOCAL_RANK": str(mesh.get_local_rank())},
        **{"WORLD_SIZE": str(mesh.size()), "LOCAL_WORLD_SIZE": str(mesh.size())},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "ACCELERATE_USE_CPU": "true"},
    }
    train(load_recipe(recipe), resume=resume)
    return (load_recipe(recipe).output_dir + "/log.jsonl") if mesh.get_local_rank() == 0 else ""


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def assert_alike(ours: Path, theirs: Path) -> None:
    left, right = (load_file(run / "model" / "model.safetensors") for run in (ours, theirs))
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=2e-6)
    for one, other in zip(log_of(ours), log_of(theirs), strict=True):
        assert one.keys() == other.keys()
        for key in ("loss", "eval_loss", "grad_norm", "epoch"):
            if key in one:
                assert one[key] == pytest.approx(other[key], rel=1e-5), key


@pytest.mark.parametrize("kind", ["make_recipe", "make_text_recipe"])
def test_four_processes_train_what_one_trains(
    pool: rank_pool.Ranks, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    make = request.getfixturevalue(kind)
    one, four = recipe_in(tmp_path / "one", make), recipe_in(tmp_path / "four", make)
    train(load_recipe(one))
    pool.run(trained, four)
    assert_alike(tmp_path / "one" / "run", tmp_path / "four" / "run")


@pytest.mark.slow
@pytest.mark.contract
def test_a_run_goes_on_bit_for_bit_on_as_many_processes_and_rightly_on_one(
    pool: rank_pool.Ranks, tmp_path: Path, make_recipe: Callable[[Path], Path]
) -> None:
    whole = recipe_in(tmp_path / "whole", make_recipe)
    pool.run(trained, whole)
    run = tmp_path / "whole" / "run"
    found = load_file(run / "model" / "model.safetensors")
    for processes in (4, 1):
        shutil.rmtree(run / "model")
        shutil.rmtree(run / "checkpoints" / "checkpoint-4")
        if processes == 4:
            pool.run(trained, whole, True)
        else:
            train(load_recipe(whole), resume=True)
        again = load_file(run / "model" / "model.safetensors")
        for name, weight in found.items():
            torch.testing.assert_close(again[name], weight, rtol=0, atol=0 if processes == 4 else 2e-6)
