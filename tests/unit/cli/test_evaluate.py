"""Tests that `simmim evaluate` compares with the right baseline on the right documents."""

import json
import shutil

import datasets
import pytest
import yaml
from typer.testing import CliRunner

from simmim.cli.main import app
from simmim.tasks.summarisation import rouge


@pytest.fixture
def evaluate():
    """Give a function that runs the command and returns the record that it wrote."""

    def run(tmp_path, *arguments):
        out = tmp_path / "out.json"
        options = ["--beams", "1", "--max-new-tokens", "3", "--json", str(out)]
        result = CliRunner().invoke(app, ["evaluate", *map(str, arguments), *options])
        assert result.exit_code == 0, result.stderr
        return result.stdout, json.loads(out.read_text())

    return run


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_recipe_of_the_model_names_the_data(evaluate, tiny_run, tmp_path):
    shown, record = evaluate(tmp_path, tiny_run / "model")
    test = rows(tiny_run.parent / "test.jsonl")
    assert record["documents"] == len(test)
    # the summaries are the first four words: the lead chosen on validation is perfect on test
    assert record["lead"] == "first 4 words"
    assert record["rouge"]["lead"]["rougeL"] == {"mean": 100, "low": 100, "high": 100}
    model, difference = (record["rouge"][name]["rougeL"]["mean"] for name in ("model", "difference"))
    assert difference == pytest.approx(model - 100)
    assert record["decoding"] == {"beams": 1, "max_new_tokens": 3, "batch_size": 16}
    assert "ROUGE-L" in shown
    assert "lead: first 4 words" in shown


def test_the_split_and_the_limit_are_obeyed(evaluate, tiny_run, tmp_path):
    _, record = evaluate(tmp_path, tiny_run / "model", "--split", "validation", "--limit", 5)
    assert (record["documents"], record["data"]["split"]) == (5, "validation")


def test_a_file_of_ones_own(evaluate, tiny_run, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"document": "one two three four five six", "summary": "five six"}) + "\n")
    _, record = evaluate(tmp_path, tiny_run / "model", "--file", file)
    assert (record["documents"], record["data"]) == (1, str(file))


def test_the_intervals_of_a_corpus_know_its_groups(evaluate, tiny_run, tmp_path, monkeypatch):
    documents = [row["document"] for row in rows(tiny_run.parent / "test.jsonl")]
    summaries = [" ".join(text.split()[: 2 + i]) for i, text in enumerate(documents)]
    groups = ["a"] * 5 + ["b"]
    split = datasets.Dataset.from_dict(
        {"document": documents, "summary": summaries, "group": groups, "name": list("abcdef")}
    )
    # on validation the lead of six words is the best one
    leads = [" ".join(text.split()[:6]) for text in documents]
    validation = datasets.Dataset.from_dict({"document": documents, "summary": leads})
    monkeypatch.setattr("simmim.data.corpora.load_corpus", lambda name: {"test": split, "validation": validation})
    _, record = evaluate(tmp_path, tiny_run / "model", "--corpus", "mine")
    expected = rouge(leads, summaries, groups=groups).rougeL
    assert record["lead"] == "first 6 words"
    assert record["rouge"]["lead"]["rougeL"]["low"] == pytest.approx(expected.low, abs=1e-3)
    assert rouge(leads, summaries).rougeL.low != pytest.approx(expected.low, abs=1e-3)
    assert record["data"] == {"corpus": "mine", "split": "test"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "x", "--file", "y"], "--corpus and --file: expected one of them, got both"),
        (["--corpus", "nonsense"], "expected one of the known corpora"),
        (["--file", "absent.jsonl"], "absent.jsonl"),
    ],
)
def test_wrong_data_is_named(tiny_model, arguments, message):
    result = CliRunner().invoke(app, ["evaluate", str(tiny_model), *arguments])
    assert result.exit_code == 1
    assert message in result.stderr


def test_without_a_recipe_the_data_must_be_named(tiny_model, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    recipe = yaml.safe_load((model / "recipe.yaml").read_text())
    del recipe["data"]["test"]
    (model / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    result = CliRunner().invoke(app, ["evaluate", str(model)])
    assert "--split test: the recipe of" in result.stderr
    (model / "recipe.yaml").unlink()
    result = CliRunner().invoke(app, ["evaluate", str(model)])
    assert (result.exit_code, "holds no recipe.yaml that names the data" in result.stderr) == (1, True)
