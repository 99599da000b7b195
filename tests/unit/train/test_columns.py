"""Tests that columns of one's own names are checked, trained on and evaluated, for every task."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from simmim.cli.evaluation_data import load_evaluation_data
from simmim.cli.main import app
from simmim.errors import ConfigError
from simmim.train.run_config import load_recipe
from simmim.train.trainer import train

TASKS = {
    "summarization": {"document": "body text", "summary": "title"},
    "language-modelling": {"text": "body"},
    "dialogue": {"messages": "chat"},
}


def write_recipe(folder: Path, task: str, make_recipe, make_text_recipe) -> Path:
    """Write a recipe of a task, and its files, whose columns have other names."""
    path = (make_recipe if task == "summarization" else make_text_recipe)(folder)
    entries = yaml.safe_load(path.read_text())
    entries["task"] = task
    entries["training"] |= {"max_steps": 1, "save_strategy": "no", "eval_strategy": "no"}
    names = TASKS[task]
    for split in ("train", "validation", "test"):
        rows = [json.loads(line) for line in Path(entries["data"][split]).read_text().splitlines()]
        if task == "dialogue":
            rows = [
                {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": row["text"]}]}
                for row in rows
            ]
        renamed = [{name: row[key] for key, name in names.items()} for row in rows]
        Path(entries["data"][split]).write_text("".join(json.dumps(row) + "\n" for row in renamed))
    entries["data"] |= names
    path.write_text(yaml.safe_dump(entries))
    return path


@pytest.mark.parametrize("task", TASKS)
def test_columns_of_other_names_go_all_the_way(tmp_path, make_recipe, make_text_recipe, task):
    path = write_recipe(tmp_path, task, make_recipe, make_text_recipe)
    recipe = load_recipe(path)
    options = [part for key, name in TASKS[task].items() for part in (f"--{key}", name)]

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert run("data", "check", path).count("whole rows, 0 broken ones") == 3
    run("data", "check", recipe.data.test, *options)
    model = train(recipe)
    language = task != "summarization"
    short = () if language else ("--max-new-tokens", "2", "--num-beams", "1")
    run("evaluate", model, "--file", recipe.data.test, *options, *short, "--limit", 1)
    # the recipe of the model names them, where the command does not
    for file in (None, Path(recipe.data.test)):
        found = load_evaluation_data(model, None, file, "test", language=language)
        assert found.examples.column_names == list(TASKS[task])


@pytest.mark.parametrize(
    ("task", "columns", "message"),
    [
        ("summarization", {"text": "x"}, "data.text: task summarization reads document, summary of a file; remove it"),
        ("language-modelling", {"summary": "x"}, "data.summary: task language-modelling reads text of a file"),
        ("dialogue", {"document": "x"}, "data.document: task dialogue reads messages of a file; remove it"),
        ("summarization", {"document": "x", "summary": "x"}, "document, summary: expected two columns, got 'x' for"),
        ("summarization", {"document": "summary"}, "document, summary: expected two columns, got 'summary' for both"),
        ("summarization", {"document": ""}, "data.document: string should have at least 1 character"),
        ("summarization", {"document": 3}, "data.document: .*valid string, got 3"),
    ],
)
def test_a_column_that_is_not_read_is_refused(tmp_path, make_recipe, make_text_recipe, task, columns, message):
    path = write_recipe(tmp_path, task, make_recipe, make_text_recipe)
    entries = yaml.safe_load(path.read_text())
    for key in TASKS[task]:
        del entries["data"][key]
    path.write_text(yaml.safe_dump(entries | {"data": entries["data"] | columns}))
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


def test_a_corpus_has_its_own_columns(tmp_path, make_recipe):
    path = make_recipe(tmp_path)
    entries = yaml.safe_load(path.read_text()) | {"data": {"corpus": "man-pages", "document": "x"}}
    path.write_text(yaml.safe_dump(entries))
    with pytest.raises(ConfigError, match="expected document only beside files"):
        load_recipe(path)
