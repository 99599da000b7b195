"""Tests which files arguments stand for, and that what cannot be read is said."""

import hashlib
import io
import os
import socket
import sys

import pytest

from simmim.cli.inputs import find_documents, read_content
from simmim.errors import DataError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Stand beside a folder with documents and other files in it."""
    monkeypatch.chdir(tmp_path)
    for name in "docs/b.txt docs/a.md docs/sub/c.PDF docs/sub/deep/d.html docs/p.png docs/Makefile".split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "docs/.git").mkdir()
    (tmp_path / "docs/.git/e.txt").write_text("text")
    return tmp_path


DOCUMENTS = ["docs/a.md", "docs/b.txt", "docs/sub/c.PDF", "docs/sub/deep/d.html"]


def test_a_folder_stands_for_its_documents_and_says_what_it_leaves_out(tree):
    found = find_documents(["docs"])
    assert (found.names, found.errors) == (DOCUMENTS, [])
    assert found.notes == [
        "docs: left out what is no document by its name: 1 × no suffix, 1 × .png; name files to read them"
    ]
    assert find_documents(["./docs/"]).names == DOCUMENTS


def test_what_is_written_into_a_folder_is_not_read_from_it(tree):
    (tree / "docs/out").mkdir()
    (tree / "docs/out/a.md.summary.txt").write_text("text")
    (tree / "docs/results.jsonl").write_text("")
    assert find_documents(["docs"], leave_out=tree / "docs/out").names == DOCUMENTS
    assert "jsonl" not in find_documents(["docs"], leave_out=tree / "docs/results.jsonl").notes[0]


def test_patterns_reach_files_folders_and_any_depth(tree):
    assert find_documents(["docs/*.txt"]).names == ["docs/b.txt"]
    assert find_documents(["docs/**/*.[Ph]*"]).names == ["docs/sub/c.PDF", "docs/sub/deep/d.html"]
    assert find_documents(["docs/s*"]).names == DOCUMENTS[2:]
    assert find_documents([str(tree / "docs" / "?.md")]).names == [str(tree / "docs/a.md")]


def test_a_name_with_brackets_is_a_file_where_there_is_one(tree):
    (tree / "a[1].txt").write_text("text")
    (tree / "a1.txt").write_text("text")
    assert find_documents(["a[1].txt"]).names == ["a[1].txt"]


def test_every_file_comes_once_and_whatever_its_name(tree):
    assert find_documents(["docs/Makefile", "docs/*", "docs", "-", "./docs/b.txt", "-"]).names == [
        "docs/Makefile",
        "docs/a.md",
        "docs/b.txt",
        "docs/p.png",
        *DOCUMENTS[2:],
        "-",
    ]


def test_arguments_that_name_nothing_are_errors(tree):
    (tree / "none").mkdir()
    (tree / "none/p.png").write_text("")
    found = find_documents(["none", "*.pdf", "docs/*.txt"])
    assert found.names == ["docs/b.txt"]
    assert str(found.errors[0]).startswith("none: expected a folder with documents (.txt .text")
    assert str(found.errors[1]) == "*.pdf: expected a pattern that matches files, it matches none"


def test_a_folder_that_cannot_be_read_is_an_error(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_documents(["docs"])
    assert found.names == DOCUMENTS[:3]
    assert [str(error) for error in found.errors] == ["docs/sub/deep: cannot read the folder: Permission denied"]


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="absent: .*No such file"):
        read_content(str(tmp_path / "absent"))
    with pytest.raises(DataError, match="it is a folder"):
        read_content(str(tmp_path))


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    found = read_content("-")
    assert found.content == b"from a pipe"
    assert found.sha256 == hashlib.sha256(b"from a pipe").hexdigest()


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a device", "a folder"])
def test_what_would_be_waited_for_is_refused(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    if kind == "a pipe":
        os.mkfifo("one.txt")
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("one.txt")
    elif kind == "a folder":
        (tmp_path / "one.txt").mkdir()
    else:
        (tmp_path / "one.txt").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=f"^one.txt: expected a text file, cannot read it: it is {kind}"):
        read_content("one.txt")


def test_what_another_program_writes_is_read():
    reading, writing = os.pipe()
    os.write(writing, b"text")
    os.close(writing)
    assert read_content(f"/dev/fd/{reading}").content == b"text"
    os.close(reading)


@pytest.mark.parametrize("name", ["nul\0.txt", "n" * 5000, "a/" * 3000, "circle", "broken", "\udcff.txt"])
def test_no_name_stops_the_others(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "broken").symlink_to("absent")
    (tmp_path / "good.txt").write_text("text")
    found = find_documents([name, "good.txt", "*.txt"], leave_out=tmp_path / "circle")
    assert found.names == [os.path.normpath(name), "good.txt"]
    with pytest.raises(DataError, match="expected a text file, cannot read it: ."):
        read_content(name)


def test_circles_of_folders_end(tree):
    for name in ("one", "two", "three"):
        (tree / "docs" / name).symlink_to(tree / "docs")
    expected = [*DOCUMENTS]
    assert find_documents(["docs"]).names == expected
    assert find_documents(["docs/**/*.*"]).names == sorted([*expected, "docs/p.png"])
    assert find_documents(["**/deep/**/*.html"]).names == ["docs/sub/deep/d.html"]
    assert find_documents(["docs/**"]).names == sorted([*expected, "docs/p.png", "docs/Makefile"])
    assert find_documents([f"{tree}/**/**/*.md"]).names == [f"{tree}/docs/a.md"]


def test_a_file_larger_than_the_memory_is_refused(tmp_path):
    with (tmp_path / "large.txt").open("wb") as stream:
        stream.truncate(2**42)  # takes no room on the disk
    with pytest.raises(DataError, match="expected a document that fits into memory, 4,398,046,511,104 bytes need"):
        read_content(str(tmp_path / "large.txt"))
