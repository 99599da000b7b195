"""`simmim data check`: a file with broken rows is exit code 1."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simmim.cli.main import app


@pytest.fixture(autouse=True)
def _wide(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_checks_a_whole_file(tmp_path):
    file = write(
        tmp_path / "own.jsonl", {"body": "one two three", "title": "x"}, {"body": "one " * 1_001, "title": "x y"}
    )

    result = run("check", file, "--document", "body", "--summary", "title")

    assert (result.exit_code, result.stderr) == (0, "")
    assert "2 whole rows, 0 broken ones" in result.stdout
    assert re.search(r"document +3 +502 +502 +1,001", result.stdout)
    assert not (tmp_path / "cache").exists()


def test_names_the_broken_rows_of_a_file(tmp_path):
    file = write(tmp_path / "own.jsonl", {"document": "a", "summary": "b"}, "{", {"document": 1}, "[/red]")

    result = run("check", file)

    assert result.exit_code == 1
    assert "1 whole rows, 3 broken ones" in result.stdout
    assert re.search(r"not JSON +2 +line 2, line 4 *\n", result.stdout)
    assert re.search(r"not a text +1 +line 3 *\n", result.stdout)
    assert "own.jsonl, line 2: expected an object with the texts document, summary; got no valid JSON" in result.stdout


@pytest.mark.parametrize("content", [None, ""])
def test_a_file_without_rows_is_exit_code_1(tmp_path, content):
    file = tmp_path / "own.jsonl"
    if content is not None:
        file.write_text(content)
    assert run("check", file).exit_code == 1


def test_the_commands_are_cheap_to_import():
    heavy = "import sys, simmim.cli.main; print({'datasets', 'pyarrow', 'datasketch', 'debian'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_checks_conversations(tmp_path):
    talk = [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "three"}]
    file = write(tmp_path / "a.jsonl", {"talk": talk}, {"talk": talk[:1]})

    result = run("check", file, "--messages", "talk")

    assert result.exit_code == 1
    assert "1 whole rows, 1 broken ones" in result.stdout
    assert re.search(r"^conversation +3 +3 +3 +3 *$", result.stdout, flags=re.MULTILINE)
    assert "no reply" in result.stdout
    both = run("check", file, "--messages", "talk", "--text", "talk")
    assert both.stderr == "error: --text, --messages: expected one of them, got both\n"
