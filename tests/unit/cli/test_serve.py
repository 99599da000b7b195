"""`simmim serve` hands on to transformers' server, after refusing what that could not serve."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers.cli import transformers as their_cli
from transformers.utils import import_utils
from typer.testing import CliRunner, Result

from simmim import SimMIMForCausalLM
from simmim.cli.main import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["serve", *map(str, arguments)])


@pytest.fixture
def handed_on(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for transformers' command line, and keep what it is called with."""
    calls: list[Any] = []
    monkeypatch.setattr(import_utils, "is_serve_available", lambda: True)
    monkeypatch.setattr(their_cli, "app", lambda arguments, **options: calls.append(arguments))
    monkeypatch.setattr(sys.modules["transformers"], "SimMIMForCausalLM", None, raising=False)
    return calls


def test_every_option_is_handed_on(handed_on: list[Any], tiny_chat_model: Path) -> None:
    result = run(tiny_chat_model, "--port", "8765", "--enable-cors")

    assert result.exit_code == 0, result.output
    assert handed_on == [["serve", str(tiny_chat_model), "--port", "8765", "--enable-cors"]]
    # not the name that was imported above: transformers puts another module in its place when it clears its imports
    assert sys.modules["transformers"].SimMIMForCausalLM is SimMIMForCausalLM, "where the server looks for the class"


def test_what_cannot_be_served_is_one_line(
    handed_on: list[Any], tiny_chat_model: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_chat_model, bare, ignore=shutil.ignore_patterns("chat_template.jinja"))
    complaints = {
        bare: "tokenizer: expected one with a chat template, this one has none",
        tiny_model: "expected a SimMIMForCausalLM, got a SimMIMForConditionalGeneration",
        tmp_path / "none": "model: expected the folder of a saved model",
    }
    monkeypatch.setattr(import_utils, "is_serve_available", lambda: True)
    for folder, complaint in complaints.items():
        result = run(folder)
        assert result.exit_code == 1
        assert complaint in result.stderr
        assert result.stderr.count("\n") == 1
    monkeypatch.setattr(import_utils, "is_serve_available", lambda: False)
    result = run(tiny_chat_model)
    assert "serve: expected fastapi, uvicorn and openai to be installed; pip install" in result.stderr
    assert handed_on == []
