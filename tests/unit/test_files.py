"""Tests that nothing but a regular file is read or written, whatever stands at its path."""

import os

import pytest

from simmim.files import append_text, open_regular


def test_text_is_added_to_the_end(tmp_path):
    append_text(tmp_path / "log", "one\n")
    append_text(tmp_path / "log", "樹\n")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\n樹\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on Windows")
@pytest.mark.parametrize("read_end", [False, True], ids=["without a reader", "with a reader"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, read_end):
    os.mkfifo(tmp_path / "log")
    handle = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK) if read_end else None
    with pytest.raises(OSError, match="log"):
        append_text(tmp_path / "log", "one\n")
    with pytest.raises(OSError, match="expected a file, it is"):
        open_regular(tmp_path / "log")
    if handle is not None:
        os.close(handle)


def test_a_folder_is_refused(tmp_path):
    for use in (open_regular, lambda path: append_text(path, "x")):
        with pytest.raises(IsADirectoryError):
            use(tmp_path)
