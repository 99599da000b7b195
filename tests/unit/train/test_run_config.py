"""Tests that a recipe is read strictly: every wrong key, type and combination is refused by name."""

from pathlib import Path

import pytest
import yaml

from simmim.errors import ConfigError
from simmim.train.run_config import load_recipe

CONFIGS = Path(__file__).parents[3] / "configs"
MINIMAL = {"data": {"corpus": "debian-descriptions"}, "tokenizer": {"vocab_size": 300}, "output_dir": "runs/x"}


@pytest.fixture
def write(tmp_path):
    """Give a function that writes a recipe."""

    def to_file(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(MINIMAL | changes), encoding="utf-8")
        return path

    return to_file


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_recipe_is_valid(path):
    assert load_recipe(path).output_dir.startswith("runs/")


def test_there_are_shipped_recipes():
    assert (CONFIGS / "debian-synopsis.yaml").is_file()


def test_what_is_not_said_has_defaults(write):
    recipe = load_recipe(write())
    assert (recipe.seed, recipe.model, recipe.training) == (0, {}, {})
    assert recipe.data.max_source_tokens is None


def test_values_arrive(write):
    path = write(
        seed=3, model={"segment_length": 16}, training={"learning_rate": 1, "bf16": True, "optim": "adamw_torch"}
    )
    recipe = load_recipe(path)
    assert (recipe.seed, recipe.model["segment_length"], recipe.training["bf16"]) == (3, 16, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modle": {}}, r"recipe.yaml: modle: no such key \(did you mean model\?\); allowed: batching, data, early_"),
        (
            {"data": {"corpsu": "x"}},
            r"data.corpsu: no such key \(did you mean corpus\?\); allowed: corpus, directions, document",
        ),
        ({"tokenizer": {"size": 1}}, r"tokenizer.size: no such key.*; allowed: path, vocab_size"),
        ({"model": {"hidden": 8}}, r"model.hidden: no such key .*; allowed: aggregator, .*hidden_size"),
        ({"model": {"vocab_size": 8}}, r"model.vocab_size: no such key"),
        ({"model": {"training_length": 8}}, r"model.training_length: no such key"),
        ({"training": {"learnin_rate": 1}}, r"training.learnin_rate: no such key \(did you mean learning_rate\?\)"),
        ({"training": {"qqq": 1}}, "training.qqq: no such key; allowed: .*Seq2SeqTrainingArguments"),
        ({"training": {"output_dir": "x"}}, "training.output_dir: the run sets this itself"),
        ({"batching": {"max_token": 8}}, r"batching.max_token: no such key \(did you mean max_tokens\?\)"),
        (
            {"early_stopping": {"patience": 1, "treshold": 8}},
            r"early_stopping.treshold: no such key \(did you mean thre",
        ),
        (
            {"pretraining": {"density": 8}},
            r"pretraining.density: no such key .*; allowed: mean_span, noise_density, tr",
        ),
        ({"pretraining": {"training": {"qq": 1}}}, "pretraining.training.qq: no such key"),
        ({"pretraining": {"training": {"eval_steps": 1}}}, "pretraining.training.eval_steps: the run sets this itself"),
    ],
)
def test_an_unknown_key_is_named_with_what_is_allowed(write, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "1"}, r"seed: input should be a valid integer, got '1' \(str\)"),
        ({"seed": True}, r"seed: .*integer, got True \(bool\)"),
        ({"output_dir": 3}, r"output_dir: .*string, got 3 \(int\)"),
        ({"data": "debian"}, r"data: .*got 'debian' \(str\)"),
        ({"data": {"corpus": "x", "max_source_tokens": 0}}, "data.max_source_tokens: .*greater than 0, got 0"),
        ({"data": {"corpus": "x", "max_target_tokens": 1.5}}, "data.max_target_tokens: .*integer, got 1.5"),
        ({"model": []}, r"model: .*dictionary, got \[\] \(list\)"),
        ({"model": {"segment_length": "64"}}, "model: .*segment_length"),
        ({"model": {"state_read": "nonsense"}}, "model: state_read: expected one of attend, .*got 'nonsense'"),
        ({"training": {"learning_rate": "fast"}}, r"training.learning_rate: expected float, got 'fast' \(str\)"),
        ({"training": {"max_steps": True}}, r"training.max_steps: expected int, got True \(bool\)"),
        ({"training": {"bf16": 1}}, r"training.bf16: expected bool, got 1 \(int\)"),
        ({"batching": {"max_tokens": 0}}, "batching.max_tokens: .*greater than 0, got 0"),
        ({"early_stopping": {}}, "early_stopping.patience: this key is required and missing"),
        ({"pretraining": {"noise_density": 1}}, "pretraining.noise_density: .*less than 1, got 1"),
        ({"pretraining": {"mean_span": 0.5}}, "pretraining.mean_span: .*greater than or equal to 1, got 0.5"),
        ({"training": {"lr_scheduler_type": 3}}, "training.lr_scheduler_type: expected .*str, got 3"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(write, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(**changes))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data: expected corpus, or both train and validation, got none of them"),
        ({"corpus": []}, r"data.corpus: expected the name of a corpus or a list of different names, got \[\]"),
        ({"corpus": ["a", "a"]}, "data.corpus: expected .* a list of different names, got .*'a', 'a'"),
        ({"corpus": ["a", 1]}, "data.corpus: expected .* a list of different names"),
        ({"corpus": ["x"], "test": "a"}, "data: expected either corpus or files, got corpus and test"),
        ({"train": "a"}, "data: expected corpus, or both train and validation, got train"),
        ({"corpus": "x", "test": "a"}, "data: expected either corpus or files, got corpus and test"),
    ],
)
def test_data_is_a_corpus_or_files(write, data, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(data=data))


@pytest.mark.parametrize("tokenizer", [{}, {"vocab_size": 300, "path": "x"}])
def test_a_tokenizer_comes_from_one_place(write, tokenizer):
    with pytest.raises(ConfigError, match="tokenizer: expected exactly one of vocab_size and path"):
        load_recipe(write(tokenizer=tokenizer))


def test_corpora_are_one_name_or_several(write):
    assert load_recipe(write()).data.corpora == ["debian-descriptions"]
    recipe = load_recipe(write(), ["data.corpus=[a, b]"])
    assert (recipe.data.corpora, recipe.to_dict()["data"]) == (["a", "b"], {"corpus": ["a", "b"]})
    assert load_recipe(write(data={"train": "a", "validation": "b"})).data.corpora == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_from": "x"}, "init_from and tokenizer both say which tokenizer is used"),
        ({"tokenizer": None}, "tokenizer: this key is required and missing"),
        (
            {"tokenizer": None, "init_from": "x", "model": {"dropout": 0.1, "hidden_size": 8}},
            "model.hidden_size: expected only dropout beside init_from",
        ),
    ],
)
def test_a_run_starts_anew_or_from_a_model(write, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(**changes))
    recipe = load_recipe(write(tokenizer=None, init_from="x", model={"dropout": 0.1}))
    assert (recipe.init_from, recipe.model, recipe.tokenizer) == ("x", {"dropout": 0.1}, None)


def test_a_missing_section_is_named(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("output_dir: x\ntokenizer: {vocab_size: 300}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="recipe.yaml: data: this key is required and missing"):
        load_recipe(path)


@pytest.mark.parametrize("text", ["", "- a\n", "word"])
def test_a_recipe_is_a_mapping(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        ConfigError, match="expected a mapping with batching, data, early_stopping, init_from, model, output"
    ):
        load_recipe(path)


def test_overrides_replace_and_add(write):
    path = write(training={"max_steps": 5, "warmup_steps": 1})
    recipe = load_recipe(path, ["training.max_steps=10", "training.learning_rate=1e-3", "seed=7", "model.rotary=no"])
    assert recipe.training == {"max_steps": 10, "warmup_steps": 1, "learning_rate": 0.001}
    assert (recipe.seed, recipe.model) == (7, {"rotary": False})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.max_steps", "--set: expected section.key=value, got 'training.max_steps'"),
        ("=3", "--set: expected section.key=value, got '=3'"),
        ("model..x=3", "--set: expected section.key=value"),
        ("output_dir.x=3", "--set output_dir.x=3: expected output_dir to be a section, it is a value"),
        ("training.max_stps=3", r"with --set training.max_stps=3: training.max_stps: no such key \(did you mean max_s"),
        ("model.state_read=[", "--set model.state_read=.*line 1.*: expected YAML"),
    ],
)
def test_a_wrong_override_is_named(write, override, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(), [override])


def test_a_recipe_written_out_reads_back_the_same(write, tmp_path):
    recipe = load_recipe(write(seed=2, model={"rotary": False}, training={"max_steps": 3}))
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(recipe.to_dict()), encoding="utf-8")
    assert load_recipe(again) == recipe
    assert recipe.to_dict()["data"] == {"corpus": "debian-descriptions"}


@pytest.mark.parametrize("key", ["eval_strategy", "save_strategy", "logging_strategy"])
@pytest.mark.parametrize("value", ["no", "off", "'no'", "false"])
def test_a_bare_no_is_a_strategy(tmp_path, key, value):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL) + f"training: {{{key}: {value}}}\n", encoding="utf-8")
    assert load_recipe(path).training == {key: "no"}


@pytest.mark.parametrize("section", ["training", "pretraining"])
def test_a_batch_has_one_size(write, section):
    size = {"per_device_train_batch_size": 4}
    changes = {section: size if section == "training" else {"training": size}, "batching": {"max_tokens": 64}}
    with pytest.raises(ConfigError, match="both say how large a batch is; remove one of them"):
        load_recipe(write(**changes))


def test_new_sections_arrive_and_are_written_out(write, tmp_path):
    changes = {
        "batching": {"max_tokens": 64},
        "early_stopping": {"patience": 2, "threshold": 0.5},
        "pretraining": {"training": {"max_steps": 3}},
    }
    recipe = load_recipe(write(**changes))
    assert (recipe.batching.max_tokens, recipe.early_stopping.patience) == (64, 2)
    assert (recipe.pretraining.noise_density, recipe.pretraining.mean_span) == (0.15, 3.0)
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(recipe.to_dict()), encoding="utf-8")
    assert load_recipe(again) == recipe


def test_the_old_name_of_a_task_is_read(make_recipe, tmp_path):
    recipe = make_recipe(tmp_path)
    assert load_recipe(recipe, ["task=summarisation"]).task == load_recipe(recipe).task == "summarization"
