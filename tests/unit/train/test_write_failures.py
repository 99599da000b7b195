"""Tests that a disk that fails is named in words, whichever library met it."""

import errno
import os

import pytest
import torch

from simmim.errors import CheckpointError
from simmim.train.write_failures import write_failures_named


class Full:
    """Takes some bytes, then none."""

    def __init__(self, room):
        self.room = room

    def write(self, content):
        self.room -= len(content)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(content)

    def flush(self):
        pass


@pytest.mark.parametrize("room", [0, 400, 3000])
def test_what_the_system_said_is_found_behind_what_torch_says(tmp_path, room):
    with (
        pytest.raises(
            CheckpointError, match=r"x: cannot write it: No space left on device\. .*There was no checkpoint"
        ),
        write_failures_named(tmp_path / "x", tmp_path),
    ):
        torch.save({"a": torch.ones(1000)}, Full(room))


def test_a_file_that_torch_writes_by_itself_tells_of_the_disk(tmp_path, full_disk):
    message = r"x: cannot write it: the disk is full or broken \(.*\)\. Free some space"
    with (
        pytest.raises(CheckpointError, match=message),
        write_failures_named(tmp_path / "x", tmp_path),
        full_disk(2000),
    ):
        torch.save({"a": torch.ones(1000)}, tmp_path / "x")


def test_our_own_errors_pass(tmp_path):
    with pytest.raises(CheckpointError, match="^as it is$"), write_failures_named(tmp_path / "x", tmp_path):
        raise CheckpointError("as it is")
