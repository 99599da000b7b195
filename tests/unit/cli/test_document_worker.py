"""Tests that a document that never ends or crashes its reader stops no other."""

import json
import os
import signal

import pytest

from simmim.cli import document_worker
from simmim.cli.document_worker import DocumentReader, read_documents
from simmim.errors import DataError


@pytest.fixture(scope="module")
def reader():
    with DocumentReader() as reader:
        yield reader


def test_documents_come_whole_whatever_their_text_and_name(reader):
    found = reader.extract("a\udcff\nb.html", "<p>one\r\n漢 🌲<p>two".encode())
    assert (found.text, found.note) == ("one 漢 🌲\ntwo", "")
    with pytest.raises(DataError, match="b.html: expected text in UTF-8, got byte 0xe9"):
        reader.extract("b.html", b"caf\xe9")
    assert reader.extract("b.html", b"caf\xe9", "latin1").text == "café"
    assert len(reader.extract("c.md", b"word " * 300_000).text) == 1_499_999


def test_a_document_that_takes_too_long_is_an_error_and_the_next_is_read(monkeypatch):
    slow = b"".join(b"<p><b id=%d>x" % number for number in range(4_000))  # each opens all that came before again
    monkeypatch.setattr(document_worker, "_SECONDS_PER_MIB", 0)
    with DocumentReader(seconds=0.05) as reader:
        with pytest.raises(DataError, match="slow.html: expected .* takes more than 0 s to read"):
            reader.extract("slow.html", slow * 20)
        reader._seconds = 60
        assert reader.extract("next.html", b"text").text == "text"


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="the system has no such signal")
@pytest.mark.parametrize("content", [b"text", b""], ids=["read", "refused"])
def test_a_reader_may_wait_for_the_next_document_for_ever(monkeypatch, content):
    monkeypatch.setattr(document_worker, "_limit_memory", lambda size: None)  # it would be that of the tests
    answer = document_worker._answer({"name": "a.txt", "encoding": None, "seconds": 600}, content)
    assert ("error" in answer) == (content == b"")
    assert signal.alarm(0) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no such signal")
def test_a_reader_that_dies_is_an_error_of_its_document_and_leaves_no_process():
    with DocumentReader() as reader:
        reader.extract("first.md", b"text")
        process = reader._process
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(DataError, match="dead.md: expected .* makes its reader crash"):
            reader.extract("dead.md", b"text")
        assert process.returncode == -signal.SIGKILL
        assert reader.extract("next.md", b"text").text == "text"
        process = reader._process
    assert process.returncode is not None


def test_modules_beside_the_documents_are_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("json", "turbohtml", "signal"):
        (tmp_path / f"{name}.py").write_text("import pathlib; pathlib.Path('imported').touch()")
    with DocumentReader() as reader:
        assert reader.extract("page.html", b"text").text == "text"
    assert not (tmp_path / "imported").exists()


def test_every_other_document_is_read(tmp_path):
    bad = {
        "a.html": b"<meta charset=utf-8>\xff",
        "b.html": b"<script>x",
        "c.pdf": b"%PDF-1.7 nonsense",
        "d.md": b"\xff",
        "e.txt": b"a\0",
        "f.txt": b"",
    }
    good = {
        "charset.html": b"<meta charset=base64>one",
        "nul.html": b'<meta charset="&#0;">one',
        "mark.html": b"<![x]>one",
    }
    good |= {"text.txt": b"one", "text.md": b"# one", "wide.md": "one".encode("utf-32")}
    for name, content in (bad | good).items():
        (tmp_path / name).write_bytes(content)
    names = sorted(
        [*(str(tmp_path / name) for name in bad | good), str(tmp_path / "absent"), str(tmp_path), "nul\0.md"]
    )
    found = {document.name: document.extracted for document in read_documents(names, None, lambda *_: False)}
    assert list(found) == names
    texts = {name: getattr(extracted, "text", None) for name, extracted in found.items()}
    assert {name for name in names if texts[name] == "one"} == {str(tmp_path / name) for name in good}
    assert all(str(found[name]).startswith(f"{name}: ") for name in names if texts[name] is None)
    json.dumps(texts)
