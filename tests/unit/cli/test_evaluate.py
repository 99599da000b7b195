"""Tests that `simmim evaluate` compares with the right baseline on the right documents."""

import json
import shutil

import datasets
import pytest
import yaml
from typer.testing import CliRunner

from lab.reports.summarization import render
from simmim.cli.main import app
from simmim.tasks.summarization.generation import Summary
from simmim.tasks.summarization.rouge import rouge


@pytest.fixture
def evaluate():
    """Give a function that runs the command and returns the record that it wrote."""

    def run(tmp_path, *arguments):
        out = tmp_path / "out.json"
        options = ["--num-beams", "1", "--max-new-tokens", "3", "--output", str(out)]
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
    assert record["systems"]["lead"]["about"] == "first 4 words"
    assert record["rouge"]["lead"]["rougeL"] == {"mean": 100, "low": 100, "high": 100}
    model, difference = record["rouge"]["model"]["rougeL"]["mean"], record["differences"]["lead"]["rougeL"]["mean"]
    assert difference == pytest.approx(model - 100)
    assert record["systems"]["textrank"]["about"] == "TextRank, 4 words"
    assert list(record["rouge"]) == ["model", "lead", "textrank"]
    assert record["data"]["manifest"]["bytes"] == (tiny_run.parent / "test.jsonl").stat().st_size
    assert not record["chosen_on_same"]
    assert record["decoding"] == {"num_beams": 1, "max_new_tokens": 3, "batch_size": 16}
    assert "ROUGE-L" in shown
    assert "lead: first 4 words" in shown


def test_the_split_and_the_limit_are_obeyed(evaluate, tiny_run, tmp_path):
    _, record = evaluate(tmp_path, tiny_run / "model", "--split", "validation", "--limit", 5)
    assert (record["documents"], record["data"]["split"]) == (5, "validation")


def test_a_file_of_ones_own(evaluate, tiny_run, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"document": "one two three four five six", "summary": "five six"}) + "\n")
    _, record = evaluate(tmp_path, tiny_run / "model", "--file", file)
    assert (record["documents"], record["data"]["file"]) == (1, str(file))
    assert record["chosen_on_same"]


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
    monkeypatch.setattr("simmim.data.corpora.load_manifest", lambda name: {"licence": "free"})
    _, record = evaluate(tmp_path, tiny_run / "model", "--corpus", "mine")
    expected = rouge(leads, summaries, groups=groups).rougeL
    assert record["systems"]["lead"]["about"] == "first 6 words"
    assert record["rouge"]["lead"]["rougeL"]["low"] == pytest.approx(expected.low, abs=1e-3)
    assert rouge(leads, summaries).rougeL.low != pytest.approx(expected.low, abs=1e-3)
    assert record["data"] == {"corpus": "mine", "split": "test", "manifest": {"licence": "free"}}
    assert record["grouped"]


@pytest.fixture
def marked(tiny_run, monkeypatch):
    """Register a corpus whose test split marks its second and third row."""
    read = rows(tiny_run.parent / "test.jsonl")
    columns = {name: [row[name] for row in read] for name in ("document", "summary")}
    split = datasets.Dataset.from_dict(columns | {"near_duplicate": [False, True, True, False, False, False]})
    validation = datasets.Dataset.from_dict(columns)
    monkeypatch.setattr("simmim.data.corpora.load_corpus", lambda name: {"test": split, "validation": validation})
    monkeypatch.setattr("simmim.data.corpora.load_manifest", lambda name: {})
    return columns["document"]


def test_near_duplicates_are_left_out_on_request_and_counted(evaluate, marked, tiny_model, tmp_path):
    shown, record = evaluate(tmp_path, tiny_model, "--corpus", "mine")
    assert (record["documents"], record["data"]["near_duplicates"]) == (6, 2)
    assert "2 rows are near-duplicates" in shown
    shown, record = evaluate(tmp_path, tiny_model, "--corpus", "mine", "--without-near-duplicates", "--limit", 3)
    assert (record["documents"], record["data"]["left_out_near_duplicates"]) == (3, 2)
    assert record["data"]["drawn_from"] == 4
    assert "2 near-duplicates left out" in shown


def test_rows_that_are_not_marked_cannot_be_left_out(tiny_model):
    result = CliRunner().invoke(app, ["evaluate", str(tiny_model), "--without-near-duplicates"])
    assert result.exit_code == 1
    assert "expected rows with near_duplicate (true or false), these have only document, summary" in result.stderr


def test_models_beside_are_scored_on_the_same_documents(evaluate, tiny_run, tmp_path, monkeypatch):
    shutil.copytree(tiny_run / "model", tmp_path / "other")
    monkeypatch.setattr("sys.argv", ["simmim", "evaluate", "a b"])
    arguments = ("--beside", tmp_path / "other", "--beside", tiny_run / "model")
    shown, record = evaluate(tmp_path, tiny_run / "model", *arguments)
    assert list(record["rouge"]) == ["model", "lead", "textrank", "other", "run"]
    zero = {"mean": 0, "low": 0, "high": 0}
    assert record["differences"]["other"] == dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), zero)
    for name in ("model", "other"):
        facts = record["systems"][name]
        assert facts["parameters"] > 1000
        assert facts["seconds"] > 0
        assert facts["peak_mib"] > 50
        assert 0 <= facts["stopped_at_limit"] <= 6
    assert sum(row["documents"] for row in record["by_length"]) == 6
    assert "6 documents (few)" in shown
    assert max(map(len, shown.splitlines())) <= 80
    report = render(record)
    assert "simmim evaluate &#39;a b&#39;" in report
    assert rows(tiny_run.parent / "test.jsonl")[0]["summary"] in report


def test_what_models_wrote_is_kept_in_order_and_counted(evaluate, tiny_run, tmp_path, monkeypatch):
    def written(model, tokenizer, documents, **decoding):
        # the longest first, as they come; two are stopped, one of 600 tokens
        for place in (2, 0, 1, 5, 4, 3):
            text = " ".join(documents[place].split()[:4])
            yield place, Summary(text, 600 if place == 2 else 10, place not in (2, 5), 0.1)

    monkeypatch.setattr("simmim.tasks.summarization.generation.summaries", written)
    shown, record = evaluate(tmp_path, tiny_run / "model")
    assert record["rouge"]["model"]["rougeL"]["mean"] == 100
    assert record["systems"]["model"]["stopped_at_limit"] == 2
    assert "model: 2 of 6 summaries stopped at 3 tokens" in shown
    assert [row["documents"] for row in record["by_length"]] == [5, 1, 0, 0]


def test_what_cannot_be_written_is_refused_before_any_work(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("simmim.cli.systems.run_model", lambda *arguments: pytest.fail("worked"))
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, ["evaluate", str(tiny_model), "--output", str(tmp_path / "file" / "r.json")])
    assert result.exit_code == 1
    assert "cannot write here" in result.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "x", "--file", "y"], "--corpus and --file: expected one of them, got both"),
        (["--corpus", "nonsense"], "expected a corpus that is registered or built"),
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
