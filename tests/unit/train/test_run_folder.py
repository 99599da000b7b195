"""Tests that a run's folder is never mixed up with another run's."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from simmim.errors import CheckpointError, ConfigError
from simmim.train.run_config import load_recipe
from simmim.train.run_folder import RunFolder


@pytest.fixture
def recipe(tmp_path, make_recipe):
    return load_recipe(make_recipe(tmp_path))


def test_a_new_run_has_its_recipe_beside_it(recipe):
    folder = RunFolder(recipe)
    assert folder.open(resume=False) is None
    assert load_recipe(folder.path / "recipe.yaml") == recipe
    assert folder.checkpoints.is_dir()


@pytest.mark.parametrize("left", ["checkpoints/checkpoint-5", "model"])
def test_a_folder_with_a_run_is_not_used_again(recipe, left):
    (Path(recipe.output_dir) / left).mkdir(parents=True)
    with pytest.raises(CheckpointError, match="holds a training run already; go on with --resume"):
        RunFolder(recipe).open(resume=False)


def test_a_run_that_broke_before_its_first_checkpoint_can_be_started_again(recipe):
    RunFolder(recipe).open(resume=False)
    RunFolder(recipe).log.write_text("stale\n")
    assert RunFolder(recipe).open(resume=False) is None
    assert not RunFolder(recipe).log.exists()


def test_there_must_be_something_to_resume(recipe):
    RunFolder(recipe).open(resume=False)
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        RunFolder(recipe).open(resume=True)


def test_the_last_checkpoint_is_resumed_and_the_log_kept(recipe):
    folder = RunFolder(recipe)
    folder.open(resume=False)
    folder.log.write_text("kept\n")
    for step in (5, 10, 9):
        (folder.checkpoints / f"checkpoint-{step}").mkdir()
    assert folder.open(resume=True) == folder.checkpoints / "checkpoint-10"
    assert folder.log.read_text() == "kept\n"


def test_a_run_is_not_resumed_as_another_model(recipe):
    folder = RunFolder(recipe)
    folder.open(resume=False)
    (folder.checkpoints / "checkpoint-5").mkdir()
    longer = dataclasses.replace(recipe, training=recipe.training | {"max_steps": 99})
    RunFolder(longer).open(resume=True)
    wider = dataclasses.replace(recipe, model=recipe.model | {"hidden_size": 64})
    with pytest.raises(ConfigError, match=r"model.hidden_size: the run in .* was started with 32, the recipe says 64"):
        RunFolder(wider).open(resume=True)
    assert yaml.safe_load((folder.path / "recipe.yaml").read_text())["model"]["hidden_size"] == 32


def test_a_place_that_cannot_be_written_is_named(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    blocked = dataclasses.replace(recipe, output_dir=str(tmp_path / "file" / "run"))
    with pytest.raises(CheckpointError, match="output_dir: cannot write to .*file/run: Not a directory"):
        RunFolder(blocked).open(resume=False)


def test_a_finished_model_holds_all_that_is_needed_to_use_and_repeat_it(tiny_run):
    model = tiny_run / "model"
    versions = json.loads((model / "versions.json").read_text())
    assert versions["torch"] == torch.__version__
    assert load_recipe(model / "recipe.yaml") == load_recipe(tiny_run / "recipe.yaml")
    assert (model / "model.safetensors").is_file()
    assert not list(model.glob("*.bin"))
    network = AutoModelForSeq2SeqLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert network.config.vocab_size == len(tokenizer)
    assert network.config.decoder_start_token_id == tokenizer.bos_token_id
