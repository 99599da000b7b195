"""Says how a record of an evaluation came about: by which command, when, with which versions, on what machine."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from simmim import __version__

__all__ = ["made"]


def made(*packages: str, program: tuple[str, ...] = ("simmim",)) -> dict[str, Any]:
    """Return command, date, versions and machine.

    Args:
        packages: whose versions count beside those of torch, transformers and tokenizers.
        program: the command, without its arguments.
    """
    return {
        "command": shlex.join([*program, *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {
            "simmim": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "tokenizers", *packages)},
        },
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }
