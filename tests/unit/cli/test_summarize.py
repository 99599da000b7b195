"""Tests what `simmim summarize` prints."""

import json

import pytest
from typer.testing import CliRunner

from simmim.cli.main import app


@pytest.fixture
def summarize(tiny_model):
    """Give a function that runs the command with a tiny model."""

    def run(*arguments, **options):
        return CliRunner().invoke(
            app, ["summarize", *map(str, arguments), "--model", str(tiny_model), "--max-new-tokens", "3"], **options
        )

    return run


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("[bold]small[/bold] \x1b[31mfast\x07 editor " * 20, encoding="utf-8")
    return path


def test_name_beginning_summary_and_cost_are_shown(summarize, text):
    result = summarize(text)
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert str(text).replace("\n", "") in result.stdout.replace("\n", "")
    assert "text [bold]small[/bold] [31mfast editor [bold]small" in shown
    assert "…" in shown
    assert "summary" in shown
    assert "tokens in," in shown
    assert "MiB" in shown
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout


def test_json_is_an_object_a_line(summarize, text):
    result = summarize(text, text, "--json")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["summary"] == second["summary"]
    assert first["name"] == str(text)
    assert first["source_tokens"] > 20
    assert isinstance(first["complete"], bool)
    assert first["peak_memory_mib"] > 50
    assert first["seconds"] > 0


def test_a_limit_that_ended_the_summary_is_said(summarize, text, monkeypatch):
    def short(*args, **kwargs):
        from simmim.cli.generation import Summary

        yield 0, Summary("a cut", 9, False, 0.1)

    monkeypatch.setattr("simmim.cli.generation.summaries", short)
    assert "stopped at 3 tokens; --max-new-tokens allows more" in summarize(text).stdout


def test_standard_input_is_read(summarize):
    result = summarize("-", "--json", input="small fast editor")
    assert json.loads(result.stdout)["name"] == "-"


def test_a_bad_file_does_not_stop_the_others(summarize, text, tmp_path):
    (tmp_path / "empty").write_text("")
    result = summarize(tmp_path / "empty", text, tmp_path / "absent", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == [str(text)]
    errors = result.stderr.splitlines()
    assert len(errors) == 2
    assert "empty: expected a text, the file is empty" in errors[0]
    assert "absent: expected a text file" in errors[1]
