"""Tests that what torchrun starts again goes on, without being told to."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from simmim.cli.main import app


def test_a_run_that_torchrun_starts_again_goes_on(tmp_path: Path, make_recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(tmp_path)
    entries = yaml.safe_load(recipe.read_text())
    entries["training"]["max_steps"] = 2
    recipe.write_text(yaml.safe_dump(entries))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # the first attempt had not begun
    assert CliRunner().invoke(app, ["train", str(recipe)]).exit_code == 0
    assert CliRunner().invoke(app, ["train", str(recipe), "--set", "training.max_steps=3"]).exit_code == 0
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-3").exists()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert CliRunner().invoke(app, ["train", str(recipe)]).exit_code == 1
