"""Measures what a benchmark reports: paired times, counted FLOPs, peak memory, and the machine they were taken on."""

from __future__ import annotations

import ctypes
import datetime
import math
import multiprocessing
import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

__all__ = [
    "PairedTimes",
    "count_flops",
    "fit_exponent",
    "git_commit",
    "hardware",
    "in_fresh_process",
    "keep_freed_memory",
    "machine_facts",
    "matching_width",
    "memory_held",
    "paired_times",
    "peak_memory",
    "run_facts",
    "today",
]

Step = Callable[[], object]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""What glibc's ``mallopt`` calls the free memory at the heap's end from which it goes back to the system, the size from
which memory comes from, and goes back to, the system each time, and how many pieces of that kind there may be."""


@dataclass(frozen=True)
class PairedTimes:
    """Seconds of two steps that were run in turn.

    Attributes:
        a: one time a repeat of the first step.
        b: of the second, each taken right after the one of the same number in ``a``.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def medians(self) -> tuple[float, float]:
        """Median seconds of either step."""
        return statistics.median(self.a), statistics.median(self.b)

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times as long the second step took as the first, pair by pair."""
        return tuple(b / a for a, b in zip(self.a, self.b, strict=True))


def paired_times(a: Step, b: Step, repeats: int, warmup: int = 1) -> PairedTimes:
    """Time two steps in turn, A B A B ..., so that what else the machine does meets both alike.

    Args:
        a: the first step; called without arguments.
        b: the second.
        repeats: timed pairs, 1 or more.
        warmup: pairs run before, untimed.
    """
    assert repeats >= 1
    seconds: list[tuple[float, float]] = []
    for _ in range(warmup + repeats):
        start = time.perf_counter()
        a()
        middle = time.perf_counter()
        b()
        seconds.append((middle - start, time.perf_counter() - middle))
    timed = seconds[warmup:]
    return PairedTimes(tuple(pair[0] for pair in timed), tuple(pair[1] for pair in timed))


def count_flops(step: Step) -> int:
    """Run a step once and count its floating-point operations: matrix products and attention, forward and backward.

    Counted as executed: keys that a mask hides count too. A multiplication with its addition counts as two. torch has
    no formula for its fused attention on CPUs; those of its fused attention on GPUs are used there.
    """
    aten = torch.ops.aten
    on_cpu = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
        step()
    return int(counter.get_total_flops())


def _attention_flops(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_flops(grad: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))


def in_fresh_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Return what a function returns in a new process, which imports it and holds nothing of this one's.

    The new process ends with this one, even one that is killed.

    Raises:
        BrokenProcessPool: the process ended before the function did, as one does that takes more memory than there is.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_end_with_parent) as fresh:
        return fresh.submit(function, *arguments).result()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def peak_memory(prepare: Callable[..., Step], *arguments: object) -> int | None:
    """Return by how many bytes a step raises the memory that a process holds, at its highest.

    A fresh process calls ``prepare(*arguments)``, which builds what the step needs, and then the step that it returns.
    What stood before (weights, libraries) is not counted, nor what the allocator keeps of freed memory.

    Args:
        prepare: a function that the new process can import; it should run a small step first, to have libraries loaded.
        arguments: what it is called with.

    Returns:
        Bytes, or None where the system does not tell (Linux does).
    """
    if platform.system() != "Linux":
        return None
    return int(in_fresh_process(_rise_of, prepare, *arguments))


def _rise_of(prepare: Callable[..., Step], *arguments: object) -> int:
    # Not resource.getrusage: a new process inherits its parent's peak, which would hide a smaller one.
    # The allocator is to give freed tensors back at once: what it keeps for later differs from run to run by a quarter.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 128 * 1024)
    step = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew at what is held now
    before = _resident("VmHWM")
    step()
    return _resident("VmHWM") - before


def keep_freed_memory() -> None:
    """Have this process keep what is freed, so that no tensor's pages come from the system twice (glibc only).

    Else a tensor of 32 MiB or more gets new pages each time, which costs more time than many operations upon it.
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)


def memory_held() -> tuple[int, int] | None:
    """Return the bytes that this process holds now, and the most that it has held; None where the system does not tell.

    The peak is that of the process since it was started, unlike resource.getrusage's, which begins with its parent's.
    """
    return (_resident("VmRSS"), _resident("VmHWM")) if platform.system() == "Linux" else None


def _resident(field: str) -> int:
    """Return a memory field of this process in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/self/status has no {field}")


def fit_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """Return the b of cost = a·size^b, by least squares of the logarithms; None of fewer than two points."""
    if len(sizes) < 2:
        return None
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope


def matching_width(wanted: int, count: Callable[[int], int]) -> int:
    """Return the width with which a model has so many parameters.

    Args:
        wanted: parameters.
        count: returns those of a model of a width; they grow in proportion to it.
    """
    narrow, wide = count(64), count(128)
    return 64 + round((wanted - narrow) * 64 / (wide - narrow))


def run_facts(benchmark: str, command: str, machine: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return what every record begins with: which benchmark it is of, when, by which command, of what, and where.

    Args:
        benchmark: its name.
        command: what was run.
        machine: facts of the one that made the figures; None for this one.
    """
    return {
        "benchmark": benchmark,
        "date": today(),
        "command": command,
        "commit": git_commit(),
        "machine": machine_facts() if machine is None else dict(machine),
    }


def machine_facts() -> dict[str, object]:
    """Return what figures depend on (versions, processor, accelerator, memory), and nothing that names the machine."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "system": platform.system(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "simd": torch.backends.cpu.get_cpu_capability(),
    }


def hardware(machine: Mapping[str, object]) -> str:
    """Return what of a machine's facts a figure is headed with: its accelerator, or processor and threads."""
    return str(machine.get("accelerator") or f"{machine['processor']}, {machine['threads']} thread(s)")


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """Return the commit of the code, with ``-dirty`` if it was changed since; None outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def today() -> str:
    """Return the date in UTC, ``YYYY-MM-DD``."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
