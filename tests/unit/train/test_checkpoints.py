"""Tests that training goes on from whole checkpoints alone: damage to any file is named, and never passed over."""

import contextlib
import dataclasses
import itertools
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from simmim.errors import CheckpointError, ConfigError, DataError
from simmim.tasks.training.sections import PretrainingSection
from simmim.train.checkpoints import checkpoint_to_resume, newest_whole_checkpoint
from simmim.train.manifest import MANIFEST, fault_of, write_manifest
from simmim.train.run_config import load_recipe
from simmim.train.trainer import train


def remove(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[: -1 - path.stat().st_size // 3])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def grow(path):
    path.write_bytes(path.read_bytes() + b"\n")


def make_a_folder(path):
    path.unlink()
    path.mkdir()


def make_a_dangling_link(path):
    path.unlink()
    path.symlink_to("nothing")


def make_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = (remove, truncate, empty, flip_a_bit, grow, make_a_folder, make_a_dangling_link)
if hasattr(os, "mkfifo"):
    DAMAGES = (*DAMAGES, make_a_pipe)


@pytest.fixture
def checkpoints(tiny_run, tmp_path):
    """Return a copy of the checkpoints of a run, of steps 2 and 4."""
    return Path(shutil.copytree(tiny_run / "checkpoints", tmp_path / "checkpoints"))


def test_damage_to_any_file_is_named_and_the_checkpoint_before_it_is_taken(checkpoints):
    newest, whole = checkpoints / "checkpoint-4", checkpoints / "checkpoint-2"
    names = sorted(path.name for path in newest.iterdir())
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors", MANIFEST} <= set(names)
    backup = shutil.copytree(newest, checkpoints / "backup")
    for name in names:
        for damage in DAMAGES:
            shutil.rmtree(newest)
            shutil.copytree(backup, newest)
            damage(newest / name)
            found, faults = newest_whole_checkpoint(checkpoints)
            assert found == whole, (name, damage)
            assert list(faults) == [newest]
            fault = faults[newest]
            assert name in fault or name == MANIFEST, (name, damage, fault)


def test_an_extra_file_is_named(checkpoints):
    (checkpoints / "checkpoint-4" / "adapter_model.bin").write_bytes(b"")
    assert fault_of(checkpoints / "checkpoint-4") == "adapter_model.bin is not in manifest.json"


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"])
def test_a_checkpoint_that_was_saved_without_a_part_is_not_gone_on_from(checkpoints, name):
    (checkpoints / "checkpoint-4" / name).unlink()
    write_manifest(checkpoints / "checkpoint-4")
    found, faults = newest_whole_checkpoint(checkpoints)
    assert (found, faults) == (
        checkpoints / "checkpoint-2",
        {checkpoints / "checkpoint-4": f"{name} is missing"},
    )


def test_what_is_not_whole_is_set_aside_and_said(checkpoints, caplog):
    newest = checkpoints / "checkpoint-4"
    truncate(newest / "optimizer.pt")
    shutil.copytree(newest, checkpoints / "broken-checkpoint-4")
    (checkpoints / "checkpoint-12").symlink_to("nothing")
    (checkpoints / "checkpoint-13").write_bytes(b"")
    assert checkpoint_to_resume(checkpoints) == checkpoints / "checkpoint-2"
    assert sorted(path.name for path in checkpoints.iterdir()) == [
        *("broken-checkpoint-12", "broken-checkpoint-13", "broken-checkpoint-4", "broken-checkpoint-4-2"),
        "checkpoint-2",
    ]
    for part in ("checkpoint-12 is not whole: it is no folder", "optimizer.pt has ", "goes on from ", "checkpoint-2"):
        assert part in caplog.text


def test_without_a_whole_checkpoint_a_run_is_refused(checkpoints):
    for path in checkpoints.iterdir():
        (path / MANIFEST).unlink()  # as an earlier version wrote it
    with pytest.raises(CheckpointError, match=r"checkpoint-4 is not whole: manifest.json is missing: .*bring one back"):
        checkpoint_to_resume(checkpoints)
    assert len(list(checkpoints.iterdir())) == 2


def test_the_checkpoint_of_the_lowest_loss_must_be_whole_where_it_is_wanted(checkpoints):
    state = checkpoints / "checkpoint-4" / "trainer_state.json"
    state.write_text(json.dumps({"best_model_checkpoint": "/elsewhere/checkpoint-2"}))
    write_manifest(checkpoints / "checkpoint-4")
    truncate(checkpoints / "checkpoint-2" / "model.safetensors")
    assert newest_whole_checkpoint(checkpoints)[0] == checkpoints / "checkpoint-4"
    with pytest.raises(CheckpointError, match="it needs the checkpoint of the lowest loss, and checkpoint-2 is not"):
        checkpoint_to_resume(checkpoints, with_best=True)


# --- whole runs ---


def copy_of(run, folder):
    """Copy a run, and return its recipe there."""
    shutil.copytree(run, folder)
    recipe = load_recipe(run / "recipe.yaml")
    return dataclasses.replace(recipe, output_dir=str(folder))


def assert_same_weights(model, other):
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (model, other))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_a_run_goes_on_from_the_checkpoint_before_and_ends_the_same(tiny_run, tmp_path, caplog):
    recipe = copy_of(tiny_run, tmp_path / "run")
    remove(tmp_path / "run" / "checkpoints" / "checkpoint-4" / "optimizer.pt")
    assert_same_weights(train(recipe, resume=True), tiny_run / "model")
    assert "checkpoint-4 is not whole: optimizer.pt is missing. The run goes on from" in caplog.text
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["broken-checkpoint-4", "checkpoint-2", "checkpoint-4"]


def test_nothing_in_a_checkpoint_is_executed(tiny_run, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        recipe = copy_of(tiny_run, tmp_path / name)
        shutil.rmtree(tmp_path / name / "checkpoints" / "checkpoint-4")
        checkpoint = tmp_path / name / "checkpoints" / "checkpoint-2"
        (checkpoint / name).write_bytes(pickle.dumps(Payload()))
        write_manifest(checkpoint)
        with pytest.raises(CheckpointError, match="checkpoint-2: cannot load the checkpoint: "):
            train(recipe, resume=True)
        assert not (tmp_path / "executed").exists()


RECORDS = ("recipe.yaml", "data.json", "versions.json", "tokenizer/tokenizer.json", "tokenizer/manifest.json")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", RECORDS)
def test_damage_to_a_record_is_one_clear_error(tiny_run, tmp_path, name, damage, monkeypatch):
    monkeypatch.setattr("simmim.train.trainer.fit", lambda *_, **__: None)
    recipe = copy_of(tiny_run, tmp_path / "run")
    damage(tmp_path / "run" / name)
    # a line end; a version, which is compared for a warning only; settings that may be changed
    harmless = {(record, grow) for record in RECORDS if "/" not in record} | {("versions.json", flip_a_bit)}
    if (name, damage) in harmless | {("recipe.yaml", truncate), ("recipe.yaml", flip_a_bit)}:
        with contextlib.suppress(CheckpointError, ConfigError):
            train(recipe, resume=True)
        return
    with pytest.raises((CheckpointError, ConfigError, DataError)) as caught:
        train(recipe, resume=True)
    assert str(tmp_path / "run") in str(caught.value)


def test_a_run_whose_recipe_or_tokenizer_is_missing_is_refused(tiny_run, tmp_path):
    recipe = copy_of(tiny_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "tokenizer")
    with pytest.raises(CheckpointError, match="tokenizer is missing, without which"):
        train(recipe, resume=True)


@pytest.mark.slow
@pytest.mark.contract
def test_whatever_is_damaged_a_run_ends_the_same_or_is_refused(tmp_path, make_recipe):
    first = {"max_steps": 4, "learning_rate": 0.01, "save_steps": 2, "use_cpu": True}
    recipe = load_recipe(make_recipe(tmp_path))
    training = recipe.training | {"max_steps": 2, "save_steps": 1}
    recipe = dataclasses.replace(recipe, pretraining=PretrainingSection(training=first), training=training)
    whole, run = Path(recipe.output_dir), tmp_path / "damaged"
    train(recipe)
    refused, same = 0, 0
    tried = {
        "checkpoints/checkpoint-2": (remove, flip_a_bit),
        "pretraining/checkpoints/checkpoint-4": (truncate,),
        "pretraining/model": (remove, make_a_folder),
    }
    for phase, damages in tried.items():
        names = sorted(path.name for path in (whole / phase).iterdir())
        for name, damage in zip(names, itertools.cycle(damages), strict=False):
            again = copy_of(whole, run)
            if phase.startswith("pretraining"):
                shutil.rmtree(run / "checkpoints")
                shutil.rmtree(run / "model")
            if phase == "pretraining/checkpoints/checkpoint-4":
                shutil.rmtree(run / "pretraining" / "model")
            damage(run / phase / name)
            try:
                assert_same_weights(train(again, resume=True), whole / "model")
                same += 1
            except CheckpointError:
                refused += 1
            shutil.rmtree(run)
    print(f"{same} went on from before, {refused} refused")
    assert same > refused
