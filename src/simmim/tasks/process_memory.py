"""Asks the system about main memory: what this process has taken, and what is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_memory", "peak_memory"]

_SYSTEM = Path("/proc/meminfo")
_PROCESS = Path("/proc/self/status")
_CONTAINERS = (  # control groups, version 2 and 1: most, used, and what of that is a cache of files
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def peak_memory() -> float | None:
    """Return the most memory that this process has used so far, in MiB; None if the system does not report it."""
    try:
        # Not getrusage, whose peak survives exec: it would report the memory of a large parent.
        [line] = [line for line in _PROCESS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    except (OSError, ValueError):  # not on Linux
        pass
    try:
        import resource
    except ImportError:  # on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def free_memory() -> float | None:
    """Return the free memory of the system or container in MiB, swap included; None if it is not reported."""
    try:
        found = dict(line.split(":") for line in _SYSTEM.read_text().splitlines())
        free = sum(int(found[name].split()[0]) / 1024 for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):  # not on Linux
        return None
    return max(0.0, min([free, *_left_in_containers()]))


def _left_in_containers() -> Iterator[float]:
    for folder, most, used, cached in _CONTAINERS:
        try:
            counted = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            left = int((folder / most).read_text()) - int((folder / used).read_text()) + int(counted[cached])
        except (OSError, KeyError, ValueError):  # there is no container, or it has no limit
            continue
        yield left / 2**20
