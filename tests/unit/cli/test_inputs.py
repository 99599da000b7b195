"""Tests that a text is read whole or refused with what is wrong with it."""

import io
import sys

import pytest

from simmim.cli.inputs import read_text
from simmim.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Give a function that writes bytes and returns the path."""

    def to_file(content):
        (tmp_path / "text.txt").write_bytes(content)
        return str(tmp_path / "text.txt")

    return to_file


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"one\n", "one\n"),
        ("é – 漢".encode(), "é – 漢"),
        (b"\xef\xbb\xbfone", "one"),
        (b"one\r\ntwo\rthree", "one\ntwo\nthree"),
        (b"x" * 3_000_000, "x" * 3_000_000),
    ],
    ids=["plain", "wide", "byte order mark", "line ends", "long"],
)
def test_a_text_is_read_whole(write, content, text):
    assert read_text(write(content)) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "text.txt: expected a text, the file is empty"),
        (b" \n\t\r\n ", "text.txt: expected a text, the file is blank"),
        (b"\xef\xbb\xbf", "text.txt: expected a text, the file is empty"),
        (b"ab\0c", r"text.txt: .*binary file \(NUL byte at offset 2\)"),
        (b"ab\xffc", "text.txt: .*got byte 0xff at offset 2; convert"),
        (b"\xef\xbb\xbfab\xe9", "text.txt: .*got byte 0xe9 at offset 5; convert"),
        (b"caf\xc3", "text.txt: .*got byte 0xc3 at offset 3; convert"),
    ],
    ids=["empty", "blank", "only a mark", "binary", "not utf-8", "not utf-8 after a mark", "cut in a character"],
)
def test_what_is_no_text_is_refused(write, content, message):
    with pytest.raises(DataError, match=message):
        read_text(write(content))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="absent: .*No such file"):
        read_text(str(tmp_path / "absent"))
    with pytest.raises(DataError, match="Is a directory"):
        read_text(str(tmp_path))


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert read_text("-") == "from a pipe"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError, match="standard input: .* empty"):
        read_text("-")
