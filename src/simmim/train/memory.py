"""Gives memory that a training on a CPU has freed back to the system."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["FreedMemory"]

_EVERY = 20  # steps; trimming takes milliseconds


class FreedMemory(TrainerCallback):
    """Trims the heap every 20 steps, where the C library is glibc.

    Batches of ever other shapes leave holes that glibc keeps: 300 steps of a small model (hidden size 64, 16 documents
    of up to 1,024 tokens) grew from 1.1 to 2.1 GB, whatever the number of arenas, and stay at 1.2 GB with this.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim = getattr(library, "malloc_trim", None)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Trim the heap."""
        if self._trim is not None and state.global_step % _EVERY == 0:
            self._trim(0)
