"""Tests that memory which was freed goes back to the system."""

import ctypes
import sys

import psutil
import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from simmim.train.callbacks import FreedMemory


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs the C library glibc"
)
def test_holes_in_the_heap_are_given_back_every_five_steps(tmp_path):
    arguments = TrainingArguments(str(tmp_path), use_cpu=True)
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(ctypes.c_size_t(50_000)) for _ in range(4000)]
    for block in blocks:
        ctypes.memset(block, 1, 50_000)
    pinned = library.malloc(ctypes.c_size_t(50_000))  # keeps the top of the heap
    for block in blocks:
        library.free(block)
    sizes = []
    for step in (4, 5):
        FreedMemory().on_step_end(arguments, TrainerState(global_step=step), TrainerControl())
        sizes.append(psutil.Process().memory_info().rss)
    library.free(pinned)
    assert sizes[0] - sizes[1] > 150_000_000
