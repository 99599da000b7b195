"""A model folder runs nothing, reads nothing outside itself, and is loaded as it was saved or refused in one error."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from typer.testing import CliRunner

from simmim.cli.main import app
from simmim.errors import CheckpointError, ConfigError, SimMIMError
from simmim.tasks.checkpoints import fingerprint, load_model, load_tokenizer
from simmim.tasks.model_folder import check_files
from simmim.train.run_config import load_recipe
from simmim.train.trainer import train

SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json")
CODE = "import pathlib\npathlib.Path({path!r}).touch()\nclass Custom:\n    pass\n"
AUTO = ("AutoTokenizer", "AutoConfig", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModel")


@pytest.fixture
def copy(tiny_chat_model: Path, tmp_path: Path) -> Path:
    """Return the folder of a causal model that a test may change."""
    return Path(shutil.copytree(tiny_chat_model, tmp_path / "model"))


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))


def load(folder: Path) -> Any:
    return load_model(folder, "cpu", auto_class=AutoModelForCausalLM)


def add_code(folder: Path, trace: Path, **changes: Any) -> None:
    """Put Python into a folder that leaves a trace where it runs, and name it in all settings."""
    (folder / "custom.py").write_text(CODE.format(path=str(trace)))
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CODE.format(path=str(trace)))
    for name in SETTINGS:
        change(folder / name, auto_map=dict.fromkeys(AUTO, "custom.Custom"))
    change(folder / "tokenizer_config.json", **changes)


@pytest.mark.parametrize("changes", [{}, {"tokenizer_class": "Custom"}, {"auto_map": ["custom.Custom", None]}])
@pytest.mark.parametrize("kind", ["chat", "generate", "serve", "summarize", "evaluate"])
def test_kind_1_no_command_runs_what_lies_in_a_folder(
    tiny_chat_model: Path, tiny_model: Path, tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    source = tiny_model if kind in ("summarize", "evaluate") else tiny_chat_model
    folder, trace = shutil.copytree(source, tmp_path / "model"), tmp_path / "ran"
    add_code(folder, trace, **changes)
    if kind == "serve":
        change(folder / "config.json", model_type="custom")  # is refused before the server would start
    (tmp_path / "a.txt").write_text("a text")
    (tmp_path / "a.jsonl").write_text(json.dumps({"document": "a text", "summary": "a"}))
    arguments = {
        "chat": ["--model", folder, "--max-new-tokens", 1],
        "generate": ["a text", "--model", folder, "--max-new-tokens", 1],
        "serve": [folder],
        "summarize": [tmp_path / "a.txt", "--model", folder, "--max-new-tokens", 1],
        "evaluate": [folder, "--file", tmp_path / "a.jsonl", "--max-new-tokens", 1],
    }[kind]
    result = CliRunner().invoke(app, [kind, *map(str, arguments)], input="Yes\ny\n" * 4)

    assert not trace.exists()
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "wish to run" not in result.output, "it was not even asked"


@pytest.mark.parametrize("key", ["init_from", "tokenizer"])
def test_kind_1_training_runs_nothing_of_a_folder(
    copy: Path, tmp_path: Path, make_text_recipe: Callable[[Path], Path], key: str
) -> None:
    trace = tmp_path / "ran"
    add_code(copy, trace, tokenizer_class="Custom")
    path = make_text_recipe(tmp_path)
    text = path.read_text().replace("tokenizer:\n  vocab_size: 300\n", "")
    named = f"init_from: {copy}\n" if key == "init_from" else f"tokenizer:\n  path: {copy}\n"
    path.write_text(text + named)
    with contextlib.suppress(SimMIMError):
        train(load_recipe(path, ["training.max_steps=1", *(["model={}"] if key == "init_from" else [])]))
    assert not trace.exists()


def only_outside(folder: Path, name: str) -> None:
    """Move a file out of the folder and leave a link to it."""
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)


@pytest.mark.parametrize("name", [*SETTINGS, "tokenizer.json", "model.safetensors", "chat_template.jinja"])
def test_kind_1_a_link_out_of_the_folder_is_not_followed(copy: Path, name: str) -> None:
    only_outside(copy, name)
    for use in (load, fingerprint):
        with pytest.raises(CheckpointError, match=rf"{name}: expected a file in the folder, it is a link to"):
            use(copy)


def test_kind_1_links_inside_and_those_of_the_hubs_cache_are_followed(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").rename(copy / "weights.safetensors")
    (copy / "model.safetensors").symlink_to("weights.safetensors")
    load(copy)
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(copy.iterdir())):
        shutil.copy(path, blobs / f"{number}")
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", f"{number}"))
    load(snapshot)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(copy / "config.json")
    with pytest.raises(CheckpointError, match="config.json: expected a file in the folder"):
        load(snapshot)


@pytest.mark.parametrize("linked", ["hub", "hub/models--a--b", "hub/models--a--b/blobs"])
def test_a_cache_of_the_hub_on_another_disk_loads(copy: Path, tmp_path: Path, linked: str) -> None:
    repository, disk = tmp_path / "hub" / "models--a--b", tmp_path / "disk"
    snapshot, blobs = repository / "snapshots" / "c0ffee", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(copy.iterdir())):
        shutil.copy(path, blobs / f"{number:040x}")
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", f"{number:040x}"))
    (tmp_path / linked).rename(disk)
    (tmp_path / linked).symlink_to(disk)
    load(snapshot)
    (snapshot / "generation_config.json").unlink()
    (snapshot / "generation_config.json").symlink_to(copy / "generation_config.json")
    with pytest.raises(CheckpointError, match=r"generation_config.json: expected a file in the folder"):
        load(snapshot)


def test_kind_1_linked_blobs_open_no_other_folder(copy: Path, tmp_path: Path) -> None:
    snapshot, secrets = tmp_path / "m" / "snapshots" / "a", tmp_path / "secrets"
    shutil.copytree(copy, snapshot)
    secrets.mkdir()
    (secrets / "config.json").write_bytes((snapshot / "config.json").read_bytes())
    (tmp_path / "m" / "blobs").symlink_to(secrets)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to("../../blobs/config.json")
    with pytest.raises(CheckpointError, match=r"config.json: expected a file in the folder"):
        load(snapshot)


@pytest.mark.parametrize("shard", ["../model.safetensors", "{parent}/model.safetensors", "a/../../model.safetensors"])
def test_kind_1_shards_lie_in_the_folder(copy: Path, shard: str) -> None:
    (copy / "model.safetensors").rename(copy.parent / "model.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": shard.format(parent=copy.parent)}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"expected \.safetensors files in the folder"):
        load(copy)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_kind_1_pickles_are_never_read(copy: Path, name: str) -> None:
    (copy / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, copy / name)
    with pytest.raises(CheckpointError, match="weights in other formats are never read"):
        load(copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on Windows")
@pytest.mark.parametrize("kind", ["pipe", "folder", "dangling", "loop"])
@pytest.mark.parametrize("name", [*SETTINGS, "tokenizer.json", "model.safetensors", "chat_template.jinja"])
def test_kind_1_something_else_in_the_place_of_a_file_is_refused(copy: Path, name: str, kind: str) -> None:
    path = copy / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere" if kind == "dangling" else name)
    with pytest.raises(CheckpointError, match=name):
        load(copy)


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("generation_config.json", {"eos_token_id": 10**6}, "eos_token_id: expected ids from 0 to"),
        ("generation_config.json", {"eos_token_id": [1, "x"]}, "eos_token_id|cannot load"),
        ("generation_config.json", {"num_return_sequences": 3, "num_beams": 3}, "expected one sequence"),
        ("generation_config.json", {"return_dict_in_generate": True}, "expected one sequence"),
        ("generation_config.json", {"no_repeat_ngram_size": "x"}, "cannot write a token|cannot load"),
        ("generation_config.json", {"repetition_penalty": -1}, "cannot write a token|cannot load"),
        ("tokenizer_config.json", {"model_max_length": "x"}, "model_max_length: expected a number"),
        ("tokenizer_config.json", {"model_max_length": -5}, "model_max_length: expected a number"),
        ("tokenizer_config.json", {"model_max_length": [1]}, "model_max_length|tokenizer"),
        ("tokenizer_config.json", {"eos_token": 5}, "tokenizer"),
        ("tokenizer_config.json", {"padding_side": "up"}, "tokenizer"),
        ("config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers: expected a whole number from 0 to 10,000"),
        ("config.json", {"num_hidden_layers": 9_999}, "the weights do not fit config.json"),
        ("config.json", {"vocab_size": 10**9}, "the weights do not fit config.json"),
        ("config.json", {"transformers_weights": "../x.safetensors"}, "got transformers_weights"),
        ("adapter_config.json", {"base_model_name_or_path": "/etc"}, "expected a whole model, got an adapter"),
    ],
)
def test_kind_1_settings_that_make_no_sense_are_one_error(
    copy: Path, name: str, changes: dict[str, Any], complaint: str
) -> None:
    change(copy / name, **changes)
    with pytest.raises((CheckpointError, ConfigError), match=complaint):
        load(copy)


@pytest.mark.parametrize("content", ["", "[]", "3", "null", '{"a": ', "\ufeff{}", '{"a": ' * 5_000, "\udcff"])
@pytest.mark.parametrize("name", SETTINGS)
def test_kind_1_settings_that_are_no_json_object_are_one_error(copy: Path, name: str, content: str) -> None:
    (copy / name).write_bytes(content.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=name):
        load(copy)


def test_kind_1_weights_that_are_no_numbers_are_refused(copy: Path) -> None:
    model, _ = load(copy)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(torch.nan)
    model.save_pretrained(copy)
    with pytest.raises(CheckpointError, match="expected weights that give finite numbers|cannot write a token"):
        load(copy)


def test_kind_6_a_tokenizer_larger_than_the_model_is_refused(copy: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(copy)
    rows, added = len(tokenizer), tokenizer.add_tokens(["<ORG>", "<PER>"])
    tokenizer.save_pretrained(copy)
    assert added == 2
    with pytest.raises(CheckpointError, match=rf"at most {rows} entries.*got {rows + 2}; .*resize_token_embeddings"):
        load(copy)
    load_tokenizer(copy)  # which a new model may be made for


def test_loading_checks_the_files_once(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        "simmim.tasks.checkpoints.check_files",
        lambda folder, *wanted: (checked.append(wanted), check_files(folder, *wanted)),
    )
    load(copy)
    assert checked == [("config.json", "tokenizer.json")]
    load_tokenizer(copy)
    assert checked[1:] == [("tokenizer.json",)]


def test_loading_draws_no_random_number(copy: Path) -> None:
    before = torch.get_rng_state()
    load(copy)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_kind_1_any_value_in_the_settings_loads_or_is_refused(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    odd = st.sampled_from([None, True, -1, 0, 10**30, 0.5, float("nan"), "", "x", "\ud83d", [], {}, [None], {"a": []}])
    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("odd") / "model"))
    values = json.loads((folder / name).read_text())
    values[data.draw(st.sampled_from(sorted(values)))] = data.draw(odd)
    (folder / name).write_text(json.dumps(values))
    try:
        model, tokenizer = load_model(folder, "cpu", auto_class=AutoModelForSeq2SeqLM)
    except SimMIMError:
        return
    model.generate(**tokenizer("a text", return_tensors="pt"), num_beams=2, max_new_tokens=2)
