"""Tests the whole way in real processes: train from a recipe, go on, evaluate, summarise; warnings are errors."""

import json
import subprocess
import sys

import pytest


def simmim(*arguments):
    command = [sys.executable, "-W", "error", "-m", "simmim", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)


@pytest.mark.slow
@pytest.mark.contract
def test_a_recipe_becomes_a_model_that_evaluates_and_summarises(tmp_path, make_recipe):
    recipe = make_recipe(tmp_path)
    trained = simmim("train", recipe)
    assert trained.stdout == f"{tmp_path / 'run' / 'model'}\n"
    assert "step 4/4" in trained.stderr
    assert "Traceback" not in trained.stderr

    resumed = simmim("train", recipe, "--resume", "--set", "training.max_steps=6")
    assert "step 5/6" in resumed.stderr
    assert "step 3/6" not in resumed.stderr

    model = tmp_path / "run" / "model"
    evaluated = simmim("evaluate", model, "--num-beams", "1", "--output", tmp_path / "out.json")
    assert "ROUGE-L" in evaluated.stdout
    assert json.loads((tmp_path / "out.json").read_text())["documents"] == 6

    (tmp_path / "text.txt").write_text("small fast editor " * 200)
    summarised = simmim("summarize", tmp_path / "text.txt", "--model", model, "--json")
    assert json.loads(summarised.stdout)["source_tokens"] > 600
    assert summarised.stderr == ""
