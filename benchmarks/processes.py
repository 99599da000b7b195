"""What every process that trains or scores a cell of a benchmark sets up and measures."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from transformers.utils import logging

from benchmarks.measure import memory_held

__all__ = ["autocast", "device", "peak_bytes", "prepare_process"]


def prepare_process(threads: int) -> None:
    """Give torch so many threads, keep transformers quiet, and begin to count the accelerator's memory."""
    torch.set_num_threads(threads)
    logging.set_verbosity_error()  # LED says at every length that it pads to its window
    logging.disable_progress_bar()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def autocast(dtype: str) -> Any:
    """Return a context that computes in `bfloat16`, or for `float32` one that does nothing."""
    return torch.autocast(device(), torch.bfloat16) if dtype == "bfloat16" else nullcontext()


def device() -> str:
    """Return where models are trained."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def peak_bytes() -> int | None:
    """Return the most memory that was in use: of the accelerator where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    held = memory_held()
    return None if held is None else held[1]
