"""Tests what `simmim summarize` prints and writes."""

import json
import sys

import pytest
from typer.testing import CliRunner

from simmim.cli.main import app
from simmim.tasks.summarization.generation import Summary
from simmim.terminal import printable


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


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_name_beginning_summary_and_cost_are_shown(summarize, text, width):
    result = summarize(text, env={"COLUMNS": str(width)})
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
    assert max(map(len, result.stdout.splitlines()[1:])) <= width


def test_json_is_an_object_a_line_in_the_order_of_the_inputs(summarize, text, tmp_path, monkeypatch):
    monkeypatch.setattr("simmim.cli.batches._BATCH", 1)  # the longest is done first
    (tmp_path / "b.txt").write_text("a much longer text " * 50)
    (tmp_path / "a.txt").write_text("short")
    result = summarize(text, tmp_path / "b.txt", tmp_path / "a.txt", text, "--json")
    first, *others = map(json.loads, result.stdout.splitlines())
    assert [first["name"], *(other["name"] for other in others)] == [
        *(str(text), str(tmp_path / "b.txt"), str(tmp_path / "a.txt"))
    ]
    assert first["source_tokens"] > 20
    assert isinstance(first["complete"], bool)
    assert first["peak_memory_mib"] > 50
    assert first["seconds"] > 0


def test_a_limit_that_ended_the_summary_is_said(summarize, text, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "simmim.tasks.summarization.generation.write_summaries", lambda *a, **k: [Summary("a cut", 9, False, 0.1)]
    )
    assert "stopped at 3 tokens; --max-new-tokens allows more" in summarize(text).stdout
    assert json.loads(summarize(text, "--json").stdout)["complete"] is False
    assert '1 stopped at 3 tokens ("complete": false)' in summarize(text, "--output", tmp_path / "r.jsonl").stderr


def test_a_system_that_does_not_tell_peak_memory_has_none_shown(summarize, text, monkeypatch, tmp_path):
    monkeypatch.setattr("simmim.tasks.process_memory._PROCESS", tmp_path / "absent")
    monkeypatch.setitem(sys.modules, "resource", None)
    shown = summarize(text)
    assert shown.exit_code == 0
    assert "MiB" not in shown.stdout
    assert json.loads(summarize(text, "--json").stdout)["peak_memory_mib"] is None


def test_standard_input_is_read(summarize):
    result = summarize("-", "--json", input="small fast editor")
    assert json.loads(result.stdout)["name"] == "-"


def test_bad_files_do_not_stop_the_others_and_are_counted_at_the_end(summarize, text, tmp_path):
    (tmp_path / "empty").write_text("")
    result = summarize(tmp_path / "empty", text, tmp_path / "absent", tmp_path / "*.pdf", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == [str(text)]
    pattern, empty, absent, count = result.stderr.splitlines()
    assert pattern.endswith("*.pdf: expected a pattern that matches files, it matches none")
    assert empty.endswith("empty: expected a text, the file is empty")
    assert "absent: expected a text file" in absent
    assert count == "3 of 4 inputs failed"


def test_length_control_reaches_the_model(summarize, text, monkeypatch):
    seen = {}

    def spy(model, tokenizer, ids, **settings):
        seen.update(settings)
        return [Summary("x", 1, True, 0.1) for _ in ids]

    monkeypatch.setattr("simmim.tasks.summarization.generation.write_summaries", spy)
    options = ["--min-new-tokens", 2, "--length-penalty", 0.5, "--no-repeat-ngram-size", 3, "--num-beams", 5]
    assert summarize(text, *options).exit_code == 0
    assert seen == {
        **{"do_sample": False, "num_beams": 5, "max_new_tokens": 3, "min_new_tokens": 2, "length_penalty": 0.5},
        "no_repeat_ngram_size": 3,
    }
    seen.clear()
    assert summarize(text).exit_code == 0
    assert "no_repeat_ngram_size" not in seen  # so that what the model was saved with holds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-new-tokens", 4], "--min-new-tokens: expected at most --max-new-tokens (3), got 4"),
        (["--num-beams", 1, "--length-penalty", 2], "--length-penalty: expected --num-beams 2 or more"),
        (["--encoding", "nonsense"], "--encoding: expected a text encoding of the WHATWG Encoding Standard, such as"),
        (["--overwrite"], "--overwrite: expected --output with it"),
        (["--json", "--output", "r.jsonl"], "--json, --output: expected one of them"),
        (["--output", "r.txt"], "--output: expected a file that ends in .jsonl, or a folder"),
        (["--output", "text.txt/a/r.jsonl"], "text.txt/a: cannot make the folder: "),
        (["--output", "text.txt/out"], "text.txt/out: cannot make the folder: "),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(summarize, text, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = summarize(text, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [text]


def test_a_folder_is_written_and_gone_on_with(summarize, text, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "docs").mkdir()
    for name in "abc":
        (tmp_path / "docs" / f"{name}.txt").write_text(f"the {name} editor")
    first = summarize(tmp_path / "docs", "--output", out)
    assert (first.exit_code, first.stdout) == (0, "")
    assert first.stderr.startswith(f"{out}/results.jsonl: summaries written: 3\n")
    assert len(list(out.rglob("*.summary.txt"))) == 3
    (tmp_path / "docs" / "b.txt").write_text("changed")
    (tmp_path / "docs" / "d.txt").write_text("")
    second = summarize(tmp_path / "docs", "--output", out)
    assert second.exit_code == 1
    assert "summaries written: 1; documents done before: 2" in second.stderr
    third = summarize(tmp_path / "docs", "--output", out)
    assert third.exit_code == 1
    assert "summaries written: 0; documents done before: 4" in third.stderr
    assert "d.txt: expected a text, the file is empty" in third.stderr
    assert "1 of 4 inputs failed" in third.stderr
    assert sorted(record["name"][-5:] for record in records(out / "results.jsonl")) == [f"{n}.txt" for n in "abcd"]


def test_right_to_left_text_keeps_its_joiners_and_loses_what_steers_a_terminal():
    assert printable("می\u200cخواهم\u202e שלום\u2028\x9b31m\ud800\n עולם") == "می\u200cخواهم שלום 31m עולם"


def test_results_of_one_dtype_are_not_continued_in_another(summarize, text, tmp_path):
    out = tmp_path / "out.jsonl"
    assert summarize(text, "--output", out, "--device", "cpu", "--quiet").stderr == ""
    assert [(one["settings"]["device"], one["settings"]["dtype"]) for one in records(out)] == [("cpu", "float32")]
    result = summarize(text, "--output", out, "--device", "cpu", "--dtype", "bfloat16")
    assert result.exit_code == 1
    assert "holds results with dtype=float32, this run has dtype=bfloat16" in result.stderr
