"""What a trainer does beside its steps: reports the progress, does what is due at an epoch's end, and frees memory."""

from __future__ import annotations

import ctypes
import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from simmim.files import append_text

__all__ = ["EpochEnds", "FreedMemory", "RunReporter"]


class RunReporter(TrainerCallback):
    """Shows step, loss, tokens per second and the time left, and appends what it shows to a file of JSON lines.

    It is a context manager, so that the terminal is whole again after an error.

    Args:
        log: the file to append to, an object a line.
        console: where to show the bar; a console that is no terminal gets a line a log entry instead.
    """

    def __init__(self, log: Path, console: Console) -> None:
        self._log = log
        self._console = console
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=None, figures="")
        self._started = time.monotonic()
        self._counted_at = self._started
        self._counted_tokens = 0

    def __enter__(self) -> Self:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        self._progress.stop()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock where the run begins or goes on."""
        self._progress.update(self._task, total=state.max_steps, completed=state.global_step)
        self._restart_clock(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show and write the figures of the steps since the last time."""
        if not state.is_world_process_zero or logs is None:
            return
        entry: dict[str, float] = {"step": state.global_step, "seconds": round(time.monotonic() - self._started, 2)}
        for key in ("epoch", "loss", "eval_loss", "learning_rate", "grad_norm", "train_loss"):
            if key in logs:
                entry[key] = logs[key]
        if "loss" in logs:
            entry["source_tokens"] = state.num_input_tokens_seen
            entry["tokens_per_second"] = round(self._tokens_per_second(state), 1)
        append_text(self._log, json.dumps(entry) + "\n")
        self._show(entry, state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave the time that an evaluation takes out of the training speed."""
        self._restart_clock(state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave the time that a checkpoint takes out of the training speed."""
        self._restart_clock(state)

    def _tokens_per_second(self, state: TrainerState) -> float:
        seconds = time.monotonic() - self._counted_at
        tokens = state.num_input_tokens_seen - self._counted_tokens
        self._restart_clock(state)
        return tokens / seconds

    def _restart_clock(self, state: TrainerState) -> None:
        self._counted_at = time.monotonic()
        self._counted_tokens = state.num_input_tokens_seen

    def _show(self, entry: dict[str, float], state: TrainerState) -> None:
        if "loss" in entry:
            figures = f"loss {entry['loss']:.3f}  {entry['tokens_per_second']:,.0f} tokens/s"
        elif "eval_loss" in entry:
            figures = f"validation loss {entry['eval_loss']:.3f}"
        else:
            return
        if self._console.is_terminal:
            self._progress.update(self._task, figures=figures)
            if "eval_loss" in entry:
                self._progress.print(f"step {state.global_step}  {figures}")
        else:
            self._console.print(f"step {state.global_step}/{state.max_steps}  {figures}")


class EpochEnds(TrainerCallback):
    """Logs, evaluates and saves, where that is due once an epoch, after its last step and before the epoch ends.

    transformers saves by steps first and evaluates by epochs later. A run that goes on from a checkpoint of the last
    step would miss that evaluation, and with it what early stopping counts.
    """

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for what is due after the last step of an epoch or of the run."""
        assert state.epoch is not None
        if state.epoch != int(state.epoch) and state.global_step < state.max_steps:
            return
        control.should_log |= args.logging_strategy == "epoch"
        control.should_evaluate |= args.eval_strategy == "epoch" and args.eval_delay <= state.epoch
        control.should_save |= args.save_strategy == "epoch"

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for nothing twice."""
        control.should_log = control.should_evaluate = control.should_save = False


_EVERY = 5  # steps: memory that was given back has to be asked for again, which costs time


class FreedMemory(TrainerCallback):
    """Trims the heap every 5 steps, where the C library is glibc.

    Batches of ever other shapes leave holes that glibc keeps, whatever the number of its arenas. A small model (hidden
    size 64, 16 documents of up to 1,024 tokens, 150 steps on a CPU) reached, and took in CPU time:

    - never trimmed: 1.8 GB, and 2.1 GB after 300 steps; 43 s
    - every 5 steps: 1.5 GB; 46 s
    - every step: 1.2 GB; 50 s
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim = getattr(library, "malloc_trim", None)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Trim the heap."""
        if self._trim is not None and args.device.type == "cpu" and state.global_step % _EVERY == 0:
            self._trim(0)
