"""Tests that what is wrong is said in one clear line with a non-zero exit code, and leaves nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simmim.cli.main import app


@pytest.fixture
def place(tmp_path, tiny_model, make_recipe, monkeypatch):
    """Stand in a folder with a good text, a good model and a good recipe, all of which a test may damage."""
    monkeypatch.chdir(tmp_path)
    make_recipe(tmp_path)
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "good.txt").write_text("small fast editor")
    return tmp_path


def snapshot(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def fails_with(place, message, *arguments):
    """Run a command that must fail in one line and leave every file as it was."""
    before = snapshot(place)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert message in result.stderr
    assert result.stdout == ""
    assert snapshot(place) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad.txt: expected a text, the file is empty"),
        (b" \n\n\t", "bad.txt: expected a text, the file is blank"),
        (b"\x7fELF\x02\x01\0\0", "bad.txt: expected text in UTF-8, got a binary file (NUL byte at offset 6)"),
        (b"some text\0and more", "bad.txt: expected text in UTF-8, got a binary file (NUL byte at offset 9)"),
        (b"caf\xe9 au lait", "bad.txt: expected text in UTF-8, got byte 0xe9 at offset 3"),
        (b"\xff\xfet", "bad.txt: expected text in UTF-16, got byte 0x74 at offset 2"),
        (b"%PDF-1.7 nonsense", "bad.txt: expected a PDF, cannot read it: "),
    ],
    ids=["empty", "blank", "binary", "a nul byte", "not utf-8", "utf-16", "broken pdf"],
)
def test_a_bad_text(place, content, message):
    (place / "bad.txt").write_bytes(content)
    fails_with(place, message, "summarize", "bad.txt", "--model", "model")


SLOW_CONTRACT = (pytest.mark.slow, pytest.mark.contract)


@pytest.mark.parametrize("megabytes", [2, pytest.param(10, marks=SLOW_CONTRACT)])
def test_a_line_of_megabytes(place, monkeypatch, megabytes):
    (place / "bad.txt").write_bytes(b"x" * megabytes * 1_000_000)
    monkeypatch.setattr("simmim.tasks.summarization.generation.free_memory", lambda: 90.0 * megabytes)
    message = "bad.txt: expected a document that fits into memory, "
    fails_with(place, message, "summarize", "bad.txt", "--model", "model")


def test_text_that_runs_from_right_to_left_is_summarised(place):
    text = "הספרייה קוראת וכותבת קבצי תמונה, مكتبة سريعة لقراءة الملفات"
    (place / "rtl.txt").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["summarize", "rtl.txt", "--model", "model", "--max-new-tokens", "3"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert text in " ".join(result.stdout.split())


def test_a_missing_text(place):
    fails_with(place, "absent.txt: expected a text file, cannot read it: No such file", "summarize", "absent.txt")


def test_a_folder_without_documents(place):
    (place / "pictures").mkdir()
    fails_with(place, "pictures: expected a folder with documents (.txt ", "summarize", "pictures")


def test_a_pattern_that_matches_nothing(place):
    fails_with(
        place, "docs/**/*.pdf: expected a pattern that matches files, it matches none", "summarize", "docs/**/*.pdf"
    )


@pytest.mark.parametrize("out", ["good.txt/out.jsonl", "good.txt/out", "good.txt/a/out.jsonl"])
def test_summaries_that_cannot_be_written(place, out):
    named = out if out.count("/") == 1 else "good.txt/a"
    fails_with(place, f"{named}: cannot ", "summarize", "good.txt", "--model", "model", "--output", out)


def test_results_of_other_settings(place):
    arguments = ["summarize", "good.txt", "--model", "model", "--output", "out.jsonl"]
    assert CliRunner().invoke(app, [*arguments, "--max-new-tokens", "3"]).exit_code == 0
    fails_with(place, "out.jsonl: holds results with max_new_tokens=3, this run has max_new_tokens=64", *arguments)


@pytest.mark.parametrize("command", ["summarize", "evaluate"])
def test_a_missing_model(place, command):
    arguments = ["good.txt", "--model", "absent"] if command == "summarize" else ["absent", "--file", "test.jsonl"]
    fails_with(place, "absent does not exist or is no folder", command, *arguments)


def test_cut_weights(place):
    weights = place / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    fails_with(place, "model: cannot load the weights: ", "summarize", "good.txt", "--model", "model")


def test_weights_that_are_none(place):
    (place / "model" / "model.safetensors").write_bytes(b"\0" * 5000)
    fails_with(place, "model: cannot load the weights: ", "summarize", "good.txt", "--model", "model")


def test_a_model_without_config(place):
    (place / "model" / "config.json").unlink()
    message = "model: expected a saved model, config.json is missing"
    fails_with(place, message, "summarize", "good.txt", "--model", "model")


def test_an_unknown_value_in_the_models_config(place):
    path = place / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state_read": "nonsense"}))
    message = "config.json: state_read: expected one of attend, broadcast, gated_broadcast, none; got 'nonsense'"
    fails_with(place, message, "summarize", "good.txt", "--model", "model")


def test_an_unknown_value_in_a_recipe(place):
    message = "model: state_read: expected one of attend, broadcast, gated_broadcast, none; got 'nonsense'"
    fails_with(place, message, "train", "recipe.yaml", "--set", "model.state_read=nonsense")


def test_an_unknown_key_in_a_recipe(place):
    message = "training.max_stps: no such key (did you mean max_steps?)"
    fails_with(place, message, "train", "recipe.yaml", "--set", "training.max_stps=3")


def test_a_recipe_that_is_no_yaml(place):
    (place / "recipe.yaml").write_text("data: [corpus\nmodel: {")
    fails_with(place, "recipe.yaml, line 2", "train", "recipe.yaml")


def test_a_missing_recipe(place):
    fails_with(place, "absent.yaml: cannot read the recipe: No such file", "train", "absent.yaml")


ROW = b'{"document": "small fast editor", "summary": "editor"}'


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            b'{"document": "small"}',
            "`summary` must be a text that is not blank, got no such field (fields: ['document'])",
        ),
        (b'{"document": "small", "summary": 7}', "`summary` must be a text that is not blank, got 7"),
        (b'{"document": " ", "summary": "x"}', "`document` must be a text that is not blank, got ' '"),
        (b'{"document": "sm\0all", "summary": "x"}', "got a NUL byte at offset 16 of the line"),
        (b'{"document": "caf\xe9", "summary": "x"}', "got byte 0xe9, which is no UTF-8, at offset 17 of the line"),
        (b"\x7fELF\x02\x01", "got no valid JSON"),
    ],
    ids=["missing field", "wrong type", "blank", "a nul byte", "not utf-8", "binary"],
)
def test_a_row_that_is_no_example(place, row, message):
    (place / "test.jsonl").write_bytes(b"\n".join([ROW, ROW, row, ROW]))
    message = f"test.jsonl, line 3: expected an object with the texts document, summary; {message}"
    fails_with(place, message, "evaluate", "model", "--file", "test.jsonl")
    result = CliRunner().invoke(app, ["train", "recipe.yaml", "--set", "data.train=test.jsonl"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1


def test_examples_that_are_none(place):
    (place / "test.jsonl").write_bytes(b"")
    message = "test.jsonl: expected at least one row, the file is empty"
    fails_with(place, message, "evaluate", "model", "--file", "test.jsonl")


@pytest.mark.parametrize("option", ["--output", "-o"])
def test_a_full_disk_under_a_result(place, full_disk, option):
    arguments = ["evaluate", "model", "--file", "test.jsonl", "--max-new-tokens", "2", "--num-beams", "1"]
    assert CliRunner().invoke(app, arguments).exit_code == 0  # the rows are in the cache now
    before = snapshot(place)
    with full_disk(1000):
        result = CliRunner().invoke(app, [*arguments, option, "out"])
    assert result.exit_code == 1
    assert result.stderr == "error: out: File too large\n"
    assert snapshot(place) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no such device")
@pytest.mark.parametrize("option", [["--json"], pytest.param([], marks=SLOW_CONTRACT)], ids=["json", "text"])
def test_a_full_disk_under_standard_output(place, option):
    command = [sys.executable, "-m", "simmim", "summarize", "good.txt", "--model", "model", *option]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=600, env=os.environ)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write: No space left on device; free some space and run the command again\n"


@pytest.mark.parametrize("out", ["good.txt/out.json", "model"])
def test_a_result_that_cannot_be_written(place, out):
    fails_with(place, f"{out}: ", "evaluate", "model", "--file", "test.jsonl", "--output", out)


def test_a_run_that_cannot_be_written(place):
    message = "output_dir: cannot write to good.txt/run: Not a directory"
    fails_with(place, message, "train", "recipe.yaml", "--set", "output_dir=good.txt/run")


def test_nothing_to_resume(place):
    message = "run: no checkpoint to resume from; train without --resume"
    fails_with(place, message, "train", "recipe.yaml", "--resume", "--set", f"output_dir={place}/run")


def test_an_evaluation_that_breaks_keeps_the_result_of_the_last(place, monkeypatch):
    (place / "out.json").write_text("the last one")

    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("simmim.tasks.summarization.generation.summaries", interrupted)
    before = snapshot(place)
    result = CliRunner().invoke(app, ["evaluate", "model", "--file", "test.jsonl", "--output", "out.json"])
    assert result.exit_code != 0
    assert snapshot(place) == before


@pytest.mark.slow  # as of a full disk, which is a process of its own, too
@pytest.mark.contract
def test_a_real_process_shows_one_line_and_no_traceback(place):
    command = [sys.executable, "-W", "error", "-m", "simmim", "summarize", "absent.txt", "--model", "model"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: absent.txt: expected a text file, cannot read it: No such file or directory\n"
