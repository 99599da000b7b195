"""Tests that a recipe of the task `translation` becomes a model that evaluates and translates."""

import json
import random

import pytest
import yaml
from typer.testing import CliRunner

from simmim.cli.main import app
from simmim.errors import ConfigError, DataError
from simmim.train.run_config import load_recipe
from simmim.train.trainer import train

WORDS = {"red": "rouge", "house": "maison", "cat": "chat", "dog": "chien", "blue": "bleu", "file": "fichier"}


@pytest.fixture
def recipe(tmp_path):
    """Write pages of a language whose words are translated one by one, and a recipe for them."""
    chance = random.Random(0)
    for name, count in (("train", 24), ("validation", 3)):
        with (tmp_path / f"{name}.jsonl").open("w") as stream:
            for _ in range(count):
                source = [" ".join(chance.choices(list(WORDS), k=3)) + " {1} 7" for _ in range(8)]
                target = [" ".join(WORDS.get(word, word) for word in block.split()) for block in source]
                languages = {"source_language": "en", "target_language": "fr"}
                stream.write(json.dumps({**languages, "source": source, "target": target}) + "\n")
    shape = {"num_hidden_layers": 1, "num_decoder_layers": 1, "num_attention_heads": 2, "segment_length": 64}
    settings = {
        "task": "translation",
        "data": {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "validation")} | {"directions": ["en-fr"]},
        "tokenizer": {"vocab_size": 300},
        "model": {"hidden_size": 32, "intermediate_size": 64, "copy_head": True, **shape},
        "batching": {"max_tokens": 1500},
        "training": {"max_steps": 6, "learning_rate": 3e-3, "use_cpu": True, "eval_strategy": "no"},
        "output_dir": str(tmp_path / "run"),
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_recipe_becomes_a_model_that_evaluates_and_translates(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = train(load_recipe(recipe))
    data = ["--file", str(tmp_path / "validation.jsonl")]
    result = CliRunner().invoke(
        app, ["evaluate", str(folder), *data, "--limit", "2", "--num-beams", "1", "-o", "r.json"]
    )
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "r.json").read_text())
    systems = record["directions"][0]["systems"]
    assert systems.keys() == {"model", "model, not mended", "nearest block", "source"}
    assert systems["model"]["marks"] == 1
    assert systems["source"]["numbers"] == 1
    assert systems["nearest block"]["chrf"]["value"] > systems["source"]["chrf"]["value"]
    assert "nc:6" in result.stdout
    assert "tok:13a" in result.stdout
    (tmp_path / "a.txt").write_text("red house\n")
    written = CliRunner().invoke(app, ["translate", "a.txt", "--to", "fr", "--from", "en", "--model", str(folder)])
    assert written.exit_code == 0
    assert (tmp_path / "a.fr.txt").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.directions=[enfr]", "expected directions such as en-fr"),
        ("data.directions=null", "this key is required for task translation"),
        ("data.sequence_length=64", "task translation takes"),
        ("task=summarization", "data.directions: task summarization takes"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(recipe, change, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, [change])


def test_pages_of_other_languages_are_refused(recipe):
    with pytest.raises(DataError, match="expected pages in the directions de-zh, found none"):
        train(load_recipe(recipe, ["data.directions=[de-zh]"]))
