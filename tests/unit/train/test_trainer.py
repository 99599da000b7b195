"""Tests that training learns, goes on where it stopped, and refuses what cannot work before it starts."""

import dataclasses
import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoTokenizer
from typer.testing import CliRunner

from lab.corpora.splits import Pair
from simmim.cli.main import app
from simmim.data.corpora import register_corpus
from simmim.errors import CheckpointError, ConfigError
from simmim.tasks.checkpoints import load_model
from simmim.tasks.training.sections import DataSection
from simmim.train.run_config import load_recipe
from simmim.train.trainer import train


@pytest.fixture
def recipe(tmp_path, make_recipe):
    return load_recipe(make_recipe(tmp_path))


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_logs_every_step_and_the_validation_loss(tiny_run):
    entries = log_of(tiny_run)
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert [entry["step"] for entry in entries if "loss" in entry] == [1, 2, 3, 4]
    assert [entry["step"] for entry in entries if "eval_loss" in entry] == [2, 4]
    assert losses[-1] < losses[0]
    assert all(entry["tokens_per_second"] > 0 for entry in entries if "loss" in entry)


def test_the_same_recipe_gives_the_same_model(recipe, tiny_run):
    model = train(recipe)
    assert_same_weights(model, tiny_run / "model")


def test_a_resumed_run_ends_where_the_whole_run_ends(recipe, tiny_run, tmp_path):
    run = Path(recipe.output_dir)
    shutil.copytree(tiny_run, run)
    shutil.rmtree(run / "checkpoints" / "checkpoint-4")
    shutil.rmtree(run / "model")
    shutil.copy(run / "recipe.yaml", tmp_path / "started.yaml")
    started = dataclasses.replace(load_recipe(tmp_path / "started.yaml"), output_dir=str(run))
    assert_same_weights(train(started, resume=True), tiny_run / "model")
    assert [entry["step"] for entry in log_of(run) if "loss" in entry] == [1, 2, 3, 4, 3, 4]


@pytest.mark.parametrize("has", [True, False])
def test_bf16_trains_where_the_processor_has_it_and_the_precision_is_announced(recipe, monkeypatch, caplog, has):
    monkeypatch.setattr("simmim.train.arguments._has_bfloat16", lambda: has)
    console = Console(file=io.StringIO(), width=300)
    training = {**recipe.training, "bf16": True, "max_steps": 1}
    del training["use_cpu"]  # found out, then
    model = train(dataclasses.replace(recipe, training=training), console=console)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    shown = console.file.getvalue()
    assert "32 examples and 8 for validation, on " in shown
    assert f"{device}" in shown
    in_bf16 = has or torch.accelerator.is_available()
    assert ("in bf16" if in_bf16 else "in fp32") in shown
    assert ("computes in float32" in caplog.text) is not in_bf16
    assert all(weight.dtype == torch.float32 for weight in load_file(model / "model.safetensors").values())


def test_documents_of_like_length_go_together(recipe):
    texts = ["a" if i % 2 else "a b c d e f g h " * 20 for i in range(160)]  # short and long in turn
    file = Path(recipe.data.train)
    file.write_text("".join(json.dumps({"document": text, "summary": "x"}) + "\n" for text in texts))
    train(dataclasses.replace(recipe, training=recipe.training | {"max_steps": 10, "eval_strategy": "no"}))
    tokens = [entry["source_tokens"] for entry in log_of(Path(recipe.output_dir)) if "loss" in entry]
    batches = [later - earlier for earlier, later in zip([0, *tokens], tokens, strict=False)]
    unmixed = [batch for batch in batches if batch in (min(batches), max(batches))]
    assert min(batches) * 20 < max(batches)
    assert len(unmixed) >= 8  # drawn blindly, one in eight would be


def test_long_documents_are_cut_only_where_the_recipe_says_so(recipe, caplog):
    data = dataclasses.replace(recipe.data, max_source_tokens=8)
    run = dataclasses.replace(recipe, data=data, training=recipe.training | {"max_steps": 1})
    train(run)
    assert "max_source_tokens=8 cuts" in caplog.text
    entry = log_of(Path(recipe.output_dir))[0]
    assert entry["source_tokens"] <= 4 * 8


def test_a_model_says_how_long_the_texts_were_that_it_learnt_from(recipe, tiny_run):
    config = json.loads((tiny_run / "model" / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tiny_run / "model")
    texts = [json.loads(line)["document"] for line in Path(recipe.data.train).read_text().splitlines()]
    longest = config["training_length"]
    assert longest == max(len(ids) for ids in tokenizer(texts)["input_ids"])
    # who learns on from shorter texts keeps it
    data = dataclasses.replace(recipe.data, max_source_tokens=8)
    training = recipe.training | {"max_steps": 1}
    tuned = dataclasses.replace(
        recipe, tokenizer=None, model={}, init_from=str(tiny_run / "model"), data=data, training=training
    )
    assert longest > 8
    assert json.loads((train(tuned) / "config.json").read_text())["training_length"] == longest


def test_a_tokenizer_of_ones_own_is_used(recipe, tiny_run):
    section = dataclasses.replace(recipe.tokenizer, vocab_size=None, path=str(tiny_run / "model"))
    run = dataclasses.replace(recipe, tokenizer=section, training=recipe.training | {"max_steps": 1})
    model = train(run)
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (model, tiny_run / "model"))
    assert ours.get_vocab() == theirs.get_vocab()


def test_a_model_has_a_row_for_the_largest_id_of_a_tokenizer_with_gaps(recipe, tiny_run, tmp_path):
    AutoTokenizer.from_pretrained(tiny_run / "model").save_pretrained(tmp_path / "tokenizer")
    file = tmp_path / "tokenizer" / "tokenizer.json"
    entries = json.loads(file.read_text())
    vocabulary = entries["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    vocabulary[last] += 7
    file.write_text(json.dumps(entries))
    section = dataclasses.replace(recipe.tokenizer, vocab_size=None, path=str(tmp_path / "tokenizer"))
    run = dataclasses.replace(recipe, tokenizer=section, training=recipe.training | {"max_steps": 1})
    model, tokenizer = load_model(train(run), "cpu")
    assert len(tokenizer) + 7 == model.config.vocab_size == vocabulary[last] + 1


def test_a_missing_tokenizer_is_named(recipe, tmp_path):
    section = dataclasses.replace(recipe.tokenizer, vocab_size=None, path=str(tmp_path / "absent"))
    with pytest.raises(CheckpointError, match=r"tokenizer.path: .* cannot load '.*absent'"):
        train(dataclasses.replace(recipe, tokenizer=section))


def test_a_tokenizer_without_padding_is_refused(recipe, tiny_run, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_run / "model")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    section = dataclasses.replace(recipe.tokenizer, vocab_size=None, path=str(tmp_path / "tokenizer"))
    with pytest.raises(ConfigError, match="expected a tokenizer with a padding and an end token"):
        train(dataclasses.replace(recipe, tokenizer=section))


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"lr_scheduler_type": "nonsense"}, "training.lr_scheduler_type: nonsense is not a valid SchedulerType"),
        ({"bf16": True, "fp16": True}, "training.bf16: At most one of fp16 and bf16"),
    ],
)
def test_a_value_that_the_trainer_refuses_leaves_no_run_behind(recipe, training, message):
    with pytest.raises(ConfigError, match=message):
        train(dataclasses.replace(recipe, training=recipe.training | training))
    assert not Path(recipe.output_dir).exists()


def test_a_run_starts_from_a_saved_model(recipe, tiny_run, tmp_path):
    start, run = shutil.copytree(tiny_run / "model", tmp_path / "start"), Path(recipe.output_dir)
    training = recipe.training | {"max_steps": 2, "learning_rate": 0.0}
    tuned = dataclasses.replace(
        recipe, tokenizer=None, init_from=str(start), model={"dropout": 0.25}, training=training
    )
    model = train(tuned)
    assert_same_weights(model, start)  # a learning rate of nothing changes nothing
    assert json.loads((model / "config.json").read_text())["dropout"] == 0.25
    held = json.loads((model / "initial_model.json").read_text())
    card = ModelCard.load(model / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "summarization")
    assert "## Learnt from\n\nFiles of the user's" in card.text
    assert held["path"] == str(start)
    digest = hashlib.sha256((start / "model.safetensors").read_bytes()).hexdigest()
    assert held["sha256"]["model.safetensors"] == digest
    resolved = load_recipe(model / "resolved.yaml")
    assert (resolved.init_from, resolved.model) == (str(start), {"dropout": 0.25})
    # a resumed run must have been started from that model
    (start / "config.json").write_text((start / "config.json").read_text() + " ")
    shutil.rmtree(run / "model")
    with pytest.raises(CheckpointError, match="init_from: the model in .*start is not that which the run"):
        train(tuned, resume=True)


def test_a_model_to_start_from_must_be_one(recipe, tiny_run, tmp_path):
    missing = dataclasses.replace(recipe, tokenizer=None, init_from=str(tmp_path / "absent"), model={})
    with pytest.raises(CheckpointError, match="init_from: .*absent does not exist"):
        train(missing)
    assert not Path(recipe.output_dir).exists()
    folder = shutil.copytree(tiny_run / "model", tmp_path / "other")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["SimMIMForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="expected a SimMIMForConditionalGeneration, got a SimMIMForCausalLM"):
        train(dataclasses.replace(missing, init_from=str(folder)))


def test_several_corpora_are_joined(recipe, monkeypatch, tmp_path):
    def corpus(word):
        pairs = [Pair(f"{word} text number {i} of a corpus", word, f"{word}{i}", f"{word}{i}") for i in range(6)]
        return lambda: ({"train": pairs[:4], "validation": pairs[4:5], "test": pairs[5:]}, {"licence": word})

    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("simmim.data.corpora.CORPORA", {})
    for word in ("one", "two"):
        register_corpus(word, corpus(word))
    console = Console(file=io.StringIO(), width=300)
    data = DataSection(corpus=["one", "two"])
    model = train(dataclasses.replace(recipe, data=data, training=recipe.training | {"max_steps": 1}), console=console)
    assert "8 examples and 2 for validation" in console.file.getvalue()
    manifests = json.loads((model / "data.json").read_text())
    assert [manifests[name]["licence"] for name in ("one", "two")] == ["one", "two"]
    result = CliRunner().invoke(app, ["evaluate", str(model)])
    assert result.exit_code == 1
    assert "--corpus: expected one of one, two, all of which the model has learnt from; name one" in result.stderr


def assert_same_weights(model, other):
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (model, other))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
