"""Tests that a run's folder is never mixed up with another run's."""

import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from simmim import SimMIMConfig
from simmim.errors import CheckpointError, ConfigError, DataError
from simmim.tasks.training.sections import EarlyStoppingSection
from simmim.train.manifest import write_manifest
from simmim.train.run_config import load_recipe
from simmim.train.run_folder import RunFolder


@pytest.fixture
def recipe(tmp_path, make_recipe):
    return load_recipe(make_recipe(tmp_path))


def begin(recipe, *, resume=False):
    """Open the folder of a run and leave it again."""
    folder = RunFolder(recipe)
    with folder.open(resume=resume):
        pass
    return folder


def test_a_new_run_has_its_recipe_beside_it(recipe):
    folder = begin(recipe)
    assert load_recipe(folder.path / "recipe.yaml") == recipe
    assert folder.task.checkpoints.is_dir()
    assert folder.task.last_checkpoint() is None
    assert not folder.pretraining.path.exists()


@pytest.mark.parametrize("left", ["checkpoints/checkpoint-5", "model", "pretraining/checkpoints/checkpoint-5"])
def test_a_folder_with_a_run_is_not_used_again(recipe, left):
    (Path(recipe.output_dir) / left).mkdir(parents=True)
    with pytest.raises(CheckpointError, match="holds a training run already; go on with --resume"):
        begin(recipe)


def test_a_run_that_broke_before_its_first_checkpoint_can_be_started_again(recipe):
    folder = begin(recipe)
    folder.task.log.write_text("stale\n")
    begin(recipe)
    assert not folder.task.log.exists()


def test_a_run_that_broke_before_its_first_checkpoint_can_be_resumed(recipe):
    begin(recipe)
    assert begin(recipe, resume=True).task.last_checkpoint() is None


def test_there_must_be_something_to_resume(recipe):
    with pytest.raises(CheckpointError, match="no checkpoint to resume from; train without --resume"):
        begin(recipe, resume=True)
    assert not Path(recipe.output_dir).exists()


def test_the_last_checkpoint_is_resumed_and_the_log_kept(recipe):
    folder = begin(recipe)
    folder.task.log.write_text("kept\n")
    for step in (5, 10, 9):
        checkpoint = folder.task.checkpoints / f"checkpoint-{step}"
        checkpoint.mkdir()
        for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
            (checkpoint / name).write_text("")
        (checkpoint / "trainer_state.json").write_text("{}")
        write_manifest(checkpoint)
    begin(recipe, resume=True)
    assert folder.task.last_checkpoint() == folder.task.checkpoints / "checkpoint-10"
    assert folder.task.log.read_text() == "kept\n"


def test_what_a_killed_process_left_half_written_is_removed(recipe):
    folder = begin(recipe)
    half = folder.task.checkpoints / ".checkpoint-12-abc.draft" / "checkpoint-12"
    half.mkdir(parents=True)
    begin(recipe, resume=True)
    assert not half.parent.exists()


def test_two_processes_do_not_train_in_one_folder(recipe):
    folder = begin(recipe)
    with folder.open(resume=True), pytest.raises(CheckpointError, match="another process trains here"):
        begin(recipe, resume=True)
    begin(recipe, resume=True)


def test_what_a_checkpoint_fixes_cannot_be_changed(recipe):
    folder = begin(recipe)
    begin(dataclasses.replace(recipe, training=recipe.training | {"max_steps": 99}), resume=True)
    changed = {
        "model.hidden_size": {"model": recipe.model | {"hidden_size": 64}},
        "training.learning_rate": {"training": recipe.training | {"learning_rate": 1.0}},
        "training.per_device_train_batch_size": {"training": recipe.training | {"per_device_train_batch_size": 1}},
        "seed": {"seed": 7},
        "early_stopping.patience": {"early_stopping": EarlyStoppingSection(3)},
    }
    for key, change in changed.items():
        with pytest.raises(ConfigError, match=rf"{key}: the run in .* was started with .*, the recipe says"):
            begin(dataclasses.replace(recipe, **change), resume=True)
    assert yaml.safe_load((folder.path / "recipe.yaml").read_text())["model"]["hidden_size"] == 32


def test_other_examples_and_other_packages_are_noticed(recipe, caplog):
    folder = begin(recipe)
    folder.record({"train": {"sha256": "a"}}, {}, resume=False)
    folder.record({"train": {"sha256": "a"}}, {}, resume=True)
    with pytest.raises(DataError, match="the examples are not those that the run in .* was started with"):
        folder.record({"train": {"sha256": "b"}}, {}, resume=True)
    versions = json.loads((folder.path / "versions.json").read_text()) | {"torch": "0.1"}
    (folder.path / "versions.json").write_text(json.dumps(versions))
    folder.record({"train": {"sha256": "a"}}, {}, resume=True)
    assert f"resumed with other packages, so the last bits may differ: torch 0.1 -> {torch.__version__}" in caplog.text


def test_a_full_disk_is_named(recipe):
    folder = RunFolder(recipe)
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    refused = pytest.raises(CheckpointError, match="run: cannot write: No space left on device. Free some space")
    with refused, folder.open(resume=False):
        raise error


def test_a_place_that_cannot_be_written_is_named(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    blocked = dataclasses.replace(recipe, output_dir=str(tmp_path / "file" / "run"))
    with pytest.raises(CheckpointError, match="output_dir: cannot write to .*file/run: Not a directory"):
        begin(blocked)


def test_a_finished_model_holds_all_that_is_needed_to_use_and_repeat_it(tiny_run):
    model = tiny_run / "model"
    versions = json.loads((model / "versions.json").read_text())
    assert versions["torch"] == torch.__version__
    recipe = load_recipe(tiny_run / "recipe.yaml")
    assert load_recipe(model / "recipe.yaml") == recipe
    train = json.loads((model / "data.json").read_text())["train"]
    content = Path(recipe.data.train).read_bytes()
    assert train == {
        **{"path": recipe.data.train, "bytes": len(content), "rows": 32},
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert (model / "model.safetensors").is_file()
    assert not list(model.glob("*.bin"))
    network = AutoModelForSeq2SeqLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert network.config.vocab_size == len(tokenizer)
    assert network.config.decoder_start_token_id == tokenizer.bos_token_id


def test_the_resolved_recipe_is_a_recipe_that_leaves_nothing_to_a_default(tiny_run):
    recipe, resolved = (load_recipe(tiny_run / name) for name in ("recipe.yaml", "resolved.yaml"))
    assert resolved.training.items() >= recipe.training.items()
    assert resolved.model.items() >= recipe.model.items()
    assert (resolved.data, resolved.tokenizer, resolved.seed) == (recipe.data, recipe.tokenizer, recipe.seed)
    assert resolved.training["max_grad_norm"] == 1.0
    assert resolved.model["neighbours"] == SimMIMConfig().neighbours
