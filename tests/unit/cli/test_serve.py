"""`simmim serve` refuses in one line what it cannot serve, before it listens, and serves the rest."""

from __future__ import annotations

import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from serving import MODELS_PATH, TEXT, ask
from simmim.cli.main import app
from simmim.serve import server


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(app, ["serve", *map(str, arguments)], env=environment)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Keep the application that would be served, in place of waiting for requests."""
    served: list[Any] = []

    def run(self: server.Server, sockets: list[socket.socket]) -> None:
        served.append(self.config.app)
        self._on_started(sockets[0].getsockname()[1])
        for one in sockets:
            one.close()

    monkeypatch.setattr(server.Server, "run", run)
    return served


def test_a_model_is_served_under_its_names(served: list[Any], tiny_chat_model: Path) -> None:
    result = run(tiny_chat_model, "--port", 0, "--max-new-tokens", 3, SIMMIM_API_KEY="k")
    assert result.exit_code == 0, result.output
    assert f"serving {tiny_chat_model.name} at http://127.0.0.1:" in result.stderr
    [found] = served
    assert ask(found, MODELS_PATH).status == 401
    key = {"authorization": "Bearer k"}
    assert [model["id"] for model in ask(found, MODELS_PATH, headers=key).json["data"]] == [tiny_chat_model.name]
    for name, status in ((tiny_chat_model.name, 200), (str(tiny_chat_model), 200), ("another", 404)):
        assert ask(found, TEXT, {"model": name, "prompt": "a", "max_tokens": 2}, headers=key).status == status
    too_many = ask(found, TEXT, {"model": tiny_chat_model.name, "prompt": "a", "max_tokens": 4}, headers=key)
    assert too_many.status == 400


def test_a_model_without_a_template_continues_texts(served: list[Any], tiny_chat_model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_chat_model, bare, ignore=shutil.ignore_patterns("chat_template.jinja"))
    result = run(bare, "--port", 0, "--dtype", "bfloat16", "--device", "cpu")
    assert "no chat template: only /v1/completions" in result.stderr
    assert ask(served[0], TEXT, {"model": "bare", "prompt": "a"}).status == 200


def test_what_cannot_be_served_is_one_line(
    served: list[Any], tiny_chat_model: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        complaints: dict[tuple[object, ...], str] = {
            (tiny_model,): "expected a SimMIMForCausalLM, got a SimMIMForConditionalGeneration",
            (tmp_path / "none",): "model: expected the folder of a saved model",
            (tiny_chat_model, "--port", taken.getsockname()[1]): "cannot listen on 127.0.0.1",
            (tiny_chat_model, "--host", "0.0.0.0"): "--api-key is missing; give one",
            (tiny_chat_model, "--host", "::"): "--api-key is missing; give one",
            (tiny_chat_model, "--host", "no such host."): "--host: expected a name or address",
            (tiny_chat_model, "--allow-origin", "evil"): "--allow-origin: expected one such as",
            (tiny_chat_model, "--allowed-host", "a:1"): "--allowed-host: expected a name",
            (tiny_chat_model, "--api-key", "a b"): "--api-key: expected",
            (tiny_chat_model, "--device", "abacus"): "device: expected one of",
        }
        for arguments, complaint in complaints.items():
            result = run(*arguments)
            assert result.exit_code == 1, arguments
            assert complaint in result.stderr
            assert result.stderr.count("\n") == 1
    for option in ("--port", "--max-queue", "--max-new-tokens", "--max-context", "--request-timeout"):
        assert run(tiny_chat_model, option, "-1").exit_code == 2
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "serve: expected uvicorn to be installed; pip install" in run(tiny_chat_model).stderr
    assert served == []
