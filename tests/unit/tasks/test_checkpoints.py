"""Tests that a model is loaded whole or refused: nothing is ever left at random values."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from simmim.errors import CheckpointError, ConfigError
from simmim.tasks.checkpoints import fetch_model, fingerprint, load_model


@pytest.fixture
def copy(tiny_model, tmp_path):
    """Return the folder of a model that a test may damage."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_saved_model_is_loaded_as_it_was(tiny_model):
    model, tokenizer = load_model(tiny_model)
    saved = load_file(tiny_model / "model.safetensors")
    assert not model.training
    assert len(tokenizer) == model.config.vocab_size
    loaded = model.state_dict()
    assert all(loaded[name].cpu().equal(value) for name, value in saved.items())


def test_loading_says_nothing_and_leaves_the_logging_as_it_was(tiny_model, capfd):
    logging.set_verbosity_warning()
    load_model(tiny_model)
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == logging.WARNING
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_part_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"model: .*{name}"):
        load_model(copy)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="absent does not exist or is no folder"):
        load_model(tmp_path / "absent")


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_cut_weights_are_refused(copy, size):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="model: cannot load the weights"):
        load_model(copy)


def test_an_unknown_value_in_the_config_is_named(copy):
    change_config(copy, state_read="nonsense")
    with pytest.raises(ConfigError, match=r"config.json: state_read: expected one of .* got 'nonsense'"):
        load_model(copy)


def test_a_config_that_is_no_json_is_refused(copy):
    (copy / "config.json").write_text('{"model_type":')
    with pytest.raises(CheckpointError, match=r"config.json: expected JSON, cannot read it: Expecting value"):
        load_model(copy)


def test_a_tokenizer_that_is_no_json_is_refused(copy):
    (copy / "tokenizer.json").write_text("nonsense")
    with pytest.raises(CheckpointError, match=r"tokenizer.json: cannot load the tokenizer"):
        load_model(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 2}, r"do not fit config.json: \d+ missing keys, encoder.layers.1"),
        ({"num_hidden_layers": 0}, r"do not fit config.json: \d+ unexpected keys, encoder.layers.0"),
        ({"intermediate_size": 96}, r"do not fit config.json: \d+ mismatched keys, .*ffn"),
    ],
)
def test_weights_of_another_model_are_refused(copy, changes, message, capfd):
    change_config(copy, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_model(copy)
    assert capfd.readouterr() == ("", "")  # our error says it, in one line


def test_a_single_lost_weight_is_refused(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["decoder.norm.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 missing keys, decoder.norm.weight"):
        load_model(copy)


def test_pickled_weights_are_never_loaded(copy):
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors"):
        load_model(copy)


def test_a_device_that_is_not_there_is_refused(tiny_model):
    for device in ("nonsense", "cuda:97", "meta"):
        with pytest.raises(ConfigError, match=f"device: expected one of cpu.*, got '{device}'"):
            load_model(tiny_model, device)
    assert load_model(tiny_model, "cpu")[0].device.type == "cpu"


def test_a_model_that_cannot_be_fetched_is_named():
    with pytest.raises(CheckpointError, match="got 'nobody/nothing', which is no folder and cannot be fetched: .+"):
        fetch_model("nobody/nothing")
    with pytest.raises(CheckpointError, match="got '../no name', which is no folder and cannot be fetched: .+"):
        fetch_model("../no name")


def test_a_fingerprint_tells_models_apart(copy, tiny_model, tmp_path):
    before = fingerprint(copy)
    assert before.startswith("model@")
    assert fingerprint(tiny_model) == before
    (copy / "versions.json").write_text("{}")
    (copy / "README.md").write_text("new")
    assert fingerprint(copy) == before
    weights = load_file(copy / "model.safetensors")
    weights["decoder.norm.weight"][0] += 1
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert fingerprint(copy) != before
    with pytest.raises(CheckpointError, match="absent does not exist"):
        fingerprint(tmp_path / "absent")
