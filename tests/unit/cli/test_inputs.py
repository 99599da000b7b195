"""Tests which files arguments stand for, and that what cannot be read is said."""

import hashlib
import io
import os
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
    with pytest.raises(DataError, match="Is a directory"):
        read_content(str(tmp_path))


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    found = read_content("-")
    assert found.content == b"from a pipe"
    assert found.sha256 == hashlib.sha256(b"from a pipe").hexdigest()
