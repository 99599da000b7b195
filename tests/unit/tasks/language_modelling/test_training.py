"""Tests that training a language model keeps every promise of a run: resumed bit for bit, measured right."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from simmim import SimMIMForCausalLM
from simmim.data.examples import load_texts
from simmim.errors import CheckpointError, ConfigError
from simmim.tasks.language_modelling.examples import tokenize_texts
from simmim.train.run_config import load_recipe
from simmim.train.tasks import TASKS
from simmim.train.trainer import train


@pytest.fixture
def recipe(tmp_path, make_text_recipe):
    return load_recipe(make_text_recipe(tmp_path))


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_learns_and_is_measured_on_every_token(tiny_language_model):
    run = tiny_language_model.parent
    losses = [entry["loss"] for entry in log_of(run) if "loss" in entry]
    assert losses[-1] < losses[0]
    assert log_of(run)[0]["source_tokens"] <= 4 * 64
    # the validation loss is the mean over all tokens but the first of each document, here none of which is cut
    model = SimMIMForCausalLM.from_pretrained(tiny_language_model)
    recipe = load_recipe(run / "recipe.yaml")
    rows = tokenize_texts(load_texts(recipe.data.validation), AutoTokenizer.from_pretrained(tiny_language_model))
    nats, count = 0.0, 0
    for ids in rows["input_ids"]:
        assert (ids[0], ids[-1]) == (1, 2)
        # in pieces of 64 that meet in one token
        for start in range(0, max(len(ids) - 1, 1), 63):
            piece = torch.tensor([ids[start : start + 64]])
            with torch.no_grad():
                nats += float(model(piece, labels=piece).loss) * (piece.shape[1] - 1)
            count += piece.shape[1] - 1
    learnt = tokenize_texts(load_texts(recipe.data.train), AutoTokenizer.from_pretrained(tiny_language_model))
    assert model.config.training_length == min(64, max(learnt["length"]))
    measured = [entry["eval_loss"] for entry in log_of(run) if "eval_loss" in entry]
    assert measured[-1] == pytest.approx(nats / count, rel=1e-5)


@pytest.mark.contract
def test_a_resumed_run_ends_where_the_whole_run_ends(recipe, tmp_path):
    changes = {"max_steps": 6, "bf16": True, "gradient_accumulation_steps": 2}
    recipe = dataclasses.replace(
        recipe,
        model=recipe.model | {"dropout": 0.1},
        training=recipe.training | changes,
        output_dir=str(tmp_path / "a"),
    )
    whole = train(recipe)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for left in ("checkpoints/checkpoint-4", "checkpoints/checkpoint-6", "model"):
        shutil.rmtree(tmp_path / "b" / left)
    resumed = train(dataclasses.replace(recipe, output_dir=str(tmp_path / "b")), resume=True)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    assert all(ours[name].equal(theirs[name]) for name in ours)
    assert [entry["step"] for entry in log_of(tmp_path / "b") if "loss" in entry] == [*range(1, 7), *range(3, 7)]


def test_batches_have_a_budget_of_tokens(recipe):
    training = {key: value for key, value in recipe.training.items() if key != "per_device_train_batch_size"}
    batching = dataclasses.replace(recipe.batching, max_tokens=150)
    model = train(dataclasses.replace(recipe, batching=batching, training=training))
    tokens = [entry["source_tokens"] for entry in log_of(model.parent) if "loss" in entry]
    batches = [later - earlier for earlier, later in zip([0, *tokens], tokens, strict=False)]
    assert all(64 < batch <= 128 for batch in batches)
    resolved = load_recipe(model / "resolved.yaml")
    assert resolved.training["per_device_eval_batch_size"] == 2
    assert "remove_unused_columns" not in resolved.training


def test_a_language_model_learns_on_from_a_language_model_only(recipe, tiny_language_model, tiny_model):
    tuned = dataclasses.replace(recipe, tokenizer=None, init_from=str(tiny_language_model), model={})
    model = train(dataclasses.replace(tuned, training=recipe.training | {"max_steps": 1, "learning_rate": 0.0}))
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (model, tiny_language_model))
    assert all(ours[name].equal(theirs[name]) for name in ours)
    shutil.rmtree(Path(recipe.output_dir))
    with pytest.raises(CheckpointError, match="expected a SimMIMForCausalLM, got a SimMIMForConditionalGeneration"):
        train(dataclasses.replace(tuned, init_from=str(tiny_model)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.sequence_length=null"], "data.sequence_length: this key is required for task language-modelling"),
        (["data.max_source_tokens=8"], "data.max_source_tokens: task language-modelling takes sequence_length; remove"),
        (["task=summarization"], "data.sequence_length: task summarization takes max_source_tokens, max_target_tokens"),
        (["pretraining={}"], "pretraining: task language-modelling has no phase on masked spans"),
        (["training.label_smoothing_factor=0.1"], "training.label_smoothing_factor: expected 0 for task"),
        (
            ["batching.max_tokens=63", "training={}"],
            r"batching.max_tokens: expected at least data.sequence_length \(64\), got 63",
        ),
        (
            ["task=nonsense"],
            "task: expected one of dialogue, language-modelling, summarization, translation; got 'nonsense'",
        ),
    ],
)
def test_what_the_task_has_no_use_for_is_refused(tmp_path, make_text_recipe, settings, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(make_text_recipe(tmp_path), settings)


def test_the_tokenizer_begins_a_prompt_and_that_of_summaries_ends_a_document(recipe, tiny_language_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_language_model)
    assert tokenizer("x")["input_ids"] == [1, *tokenizer("x", add_special_tokens=False)["input_ids"]]
    task = TASKS.find("summarization")(recipe)
    assert task.prepare(tokenizer)("x")["input_ids"][-1] == 2  # one of a language model, for another task
    task = TASKS.find("language-modelling")(recipe)
    assert task.prepare(tokenizer)("x")["input_ids"][-1] != 2
