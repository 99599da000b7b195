"""Tests what is asked of the system about memory."""

import subprocess
import sys

import pytest

from simmim.tasks import process_memory as memory

MIB = 2**20


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Give a function that arranges what the system tells."""
    monkeypatch.setattr(memory, "_SYSTEM", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTAINERS", tuple((tmp_path, *names) for _, *names in memory._CONTAINERS))

    def write(**files):
        for name, content in files.items():
            (tmp_path / name.replace("memory_", "memory.")).write_text(content)

    write(meminfo="MemTotal:   9000000 kB\nMemAvailable:    2048000 kB\nSwapFree:   1024000 kB\n")
    return write


def test_what_is_available_and_swap_are_free(told):
    assert memory.free_memory() == 3000


def test_a_container_may_have_less(told):
    told(memory_stat="anon 5\ninactive_file 104857600\n", memory_max=f"{500 * MIB}\n", memory_current=f"{450 * MIB}\n")
    assert memory.free_memory() == 150
    told(memory_max="max\n")
    assert memory.free_memory() == 3000
    told(memory_stat="total_inactive_file 0\n", memory_limit_in_bytes="100", memory_usage_in_bytes="200")
    assert memory.free_memory() == 0


@pytest.mark.parametrize("content", ["", "MemAvailable: 5 kB\n", "MemAvailable: x kB\nSwapFree: 0 kB\n"])
def test_a_system_that_does_not_tell_has_no_answer(told, content):
    told(meminfo=content)
    assert memory.free_memory() is None


def test_this_process_has_taken_some():
    assert memory.peak_memory() > 50


def test_the_memory_of_the_parent_does_not_count():
    asked = "from simmim.tasks.process_memory import peak_memory; print(peak_memory())"
    ballast = bytes(300 * MIB)  # the child forks with it and gives it back when Python starts
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert len(ballast) == 300 * MIB
    assert 5 < float(done.stdout) < 250


def test_another_system_has_the_peak_of_getrusage(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "none")
    assert memory.peak_memory() > 50
