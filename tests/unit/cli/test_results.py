"""Tests that results are on disk once they are added, and that what a broken run left is found again."""

import errno
import json
import os

import pytest

from simmim.cli.results import ResultsFile, ResultsFolder, json_line
from simmim.errors import ConfigError, DataError
from simmim.terminal import steers_terminal

SETTINGS = {"model": "m@1", "num_beams": 1, "max_new_tokens": 9}


def record(name, sha256="1", summary="short", complete=True):
    return {"name": name, "sha256": sha256, "summary": summary, "complete": complete}


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.jsonl"


def test_what_is_added_is_there_at_once_and_found_again(path):
    with ResultsFile(path, SETTINGS) as results:
        results.add([record("a"), {"name": "b", "sha256": None, "error": "b: no text"}])
        assert [line["name"] for line in lines(path)] == ["a", "b"]
        assert lines(path)[0] == record("a") | {"settings": SETTINGS}
    with ResultsFile(path, SETTINGS) as results:
        assert results.holds("a", "1")
        assert not results.holds("a", "2")
        assert not results.holds("c", "1")
        assert (results.error("a"), results.error("b")) == (None, "b: no text")
        results.add([record("c")])
    assert [line["name"] for line in lines(path)] == ["a", "b", "c"]


@pytest.mark.parametrize("left", [1, 5, 60, -1])
def test_a_last_line_without_its_end_is_done_again(path, left):
    with ResultsFile(path, SETTINGS) as results:
        results.add([record("a")])
        whole = path.stat().st_size
        results.add([record("b")])
    with path.open("rb+") as stream:
        stream.truncate(whole + left if left > 0 else path.stat().st_size - 1)
    with ResultsFile(path, SETTINGS) as results:
        assert (results.holds("a", "1"), results.holds("b", "1")) == (True, False)
        assert path.stat().st_size == whole
        results.add([record("b")])
    assert [line["name"] for line in lines(path)] == ["a", "b"]


@pytest.mark.parametrize("left", [1, 12])
def test_a_first_line_without_its_end_is_ours(path, left):
    path.write_bytes(json_line(record("a"))[:left])
    with ResultsFile(path, SETTINGS) as results:
        assert not results.holds("a", "1")
        results.add([record("a")])
    assert len(lines(path)) == 1


def test_a_document_that_has_changed_is_kept_once(path):
    with ResultsFile(path, SETTINGS) as results:
        results.add([record("a"), record("b")])
    with ResultsFile(path, SETTINGS) as results:
        results.add([record("a", sha256="2")])
        assert results.holds("a", "2")
    assert [(line["name"], line["sha256"]) for line in lines(path)] == [("b", "1"), ("a", "2")]


def test_other_settings_are_refused_unless_all_is_begun_again(path):
    with ResultsFile(path, SETTINGS) as results:
        results.add([record("a")])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="holds results with num_beams=1, this run has num_beams=4; .* --overwrite"):
        ResultsFile(path, SETTINGS | {"num_beams": 4})
    assert path.read_bytes() == before
    with ResultsFile(path, SETTINGS | {"num_beams": 4}, overwrite=True) as results:
        assert not results.holds("a", "1")
        results.add([record("b")])
    assert [line["settings"]["num_beams"] for line in lines(path)] == [4]


@pytest.mark.parametrize("content", ["my notes", "my notes\n", '{"name": "x"}\n', "[1]\n"])
def test_a_file_of_something_else_is_left_alone(path, content):
    path.write_text(content)
    with pytest.raises(DataError, match="line 1: expected results of simmim summarize"):
        ResultsFile(path, SETTINGS)
    assert path.read_text() == content


def test_a_place_that_cannot_be_written_is_named(tmp_path, path):
    with pytest.raises(ConfigError, match="expected a file for results"):
        ResultsFile(tmp_path, SETTINGS)
    path.write_text("")
    with pytest.raises(OSError, match="cannot write here: Not a directory"):
        ResultsFile(path / "r.jsonl", SETTINGS)
    with pytest.raises(OSError, match="cannot make the folder: Not a directory"):
        ResultsFolder(path / "out", SETTINGS, False, [])


def test_what_was_made_for_nothing_is_removed(tmp_path, path):
    ResultsFile(path, SETTINGS).close()
    ResultsFolder(tmp_path / "out", SETTINGS, False, []).close()
    ResultsFile(tmp_path / "a" / "b" / "r.jsonl", SETTINGS).close()
    ResultsFolder(tmp_path / "a" / "b", SETTINGS, False, []).close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_whole_lines(path, monkeypatch):
    results = ResultsFile(path, SETTINGS)
    results.add([record("a")])
    before = path.read_bytes()
    real, room = os.write, 30

    def write(handle, content):
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(handle, content[:room])
        room = 0
        return written

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space left on device; what was finished is saved") as caught:
        results.add([record("b"), record("c")])
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert not results.holds("b", "1")
    results.close()


def test_a_full_disk_leaves_no_half_of_a_text(tmp_path, full_disk):
    out = tmp_path / "out"
    with ResultsFolder(out, SETTINGS, False, ["a.txt", "b.txt"]) as results:
        results.add([record("a.txt")])
        message = "cannot write: File too large; what was finished is saved"
        with pytest.raises(OSError, match=message) as caught, full_disk(3):
            results.add([record("b.txt")])
        assert caught.value.filename == str(out / "b.txt.summary.txt")
        assert not results.holds("b.txt", "1")
    assert [path.name for path in out.rglob("*.txt")] == ["a.txt.summary.txt"]
    assert len(lines(out / "results.jsonl")) == 1


def test_a_name_that_is_no_utf_8_comes_back(path):
    name = os.fsdecode(b"caf\xe9.txt")
    with ResultsFile(path, SETTINGS) as results:
        results.add([record(name), record("漢")])
    assert "漢".encode() in path.read_bytes()
    with ResultsFile(path, SETTINGS) as results:
        assert results.holds(name, "1")


def test_a_folder_gets_a_text_for_each_document(tmp_path):
    out = tmp_path / "out"
    names = ["a.txt", "../b/c.pdf", "/d/e.md", "-"]
    with ResultsFolder(out, SETTINGS, False, names) as results:
        results.add([record(names[0], complete=False), *(record(name) for name in names[1:])])
        results.add([{"name": "x", "sha256": None, "error": "x: no"}])
    texts = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*.txt")}
    assert texts == {
        "a.txt.summary.txt": "short\n[stopped at 9 tokens]\n",
        "b/c.pdf.summary.txt": "short\n",
        "d/e.md.summary.txt": "short\n",
        "standard-input.summary.txt": "short\n",
    }
    assert len(lines(out / "results.jsonl")) == 5
    with pytest.raises(ConfigError, match=r"b/c.pdf and b/c.pdf would get one file"):
        ResultsFolder(out, SETTINGS, False, ["../b/c.pdf", "b/c.pdf"])


@pytest.mark.parametrize(
    "name", ["a\udcff", "a\x9b2J\x7f", "\u202eb", "\U000e0001", "é漢🌲", "\x1b\n\u2028"], ids=ascii
)
def test_a_line_of_json_holds_every_name_and_steers_no_terminal(name):
    line = json_line({"name": name})
    assert json.loads(line) == {"name": name}
    assert line.endswith(b"\n")
    assert not [one for one in line.decode()[:-1] if steers_terminal(one)]
    assert ("é漢🌲".encode() in line) == (name == "é漢🌲")
