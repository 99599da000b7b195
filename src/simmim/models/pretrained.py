"""Where the models that come with the package lie."""

from __future__ import annotations

from pathlib import Path

from simmim.errors import CheckpointError

__all__ = ["SUMMARISER", "TRANSLATOR", "adapter_path", "pretrained_path"]

FOLDER = Path(__file__).parent.parent / "pretrained"
SUMMARISER = "software-summaries"
"""The summariser that comes with SimMIM, by name."""
TRANSLATOR = "translated-documentation"
"""The adapter for translation that comes with SimMIM, by name."""


def adapter_path(name: str) -> Path:
    """Return the folder of an adapter that comes with SimMIM."""
    return FOLDER / name


def pretrained_path(name: str = SUMMARISER) -> Path:
    """Return the folder of a model that comes with SimMIM, for ``from_pretrained``.

    Args:
        name: ``software-summaries`` says in a line what an English description or manual page of software is about.

    Raises:
        CheckpointError: no model of this name comes with SimMIM.
    """
    known = sorted(folder.name for folder in FOLDER.glob("*") if (folder / "config.json").is_file())
    if name not in known:
        raise CheckpointError(f"name: expected a model that comes with SimMIM ({', '.join(known)}), got {name!r}")
    return FOLDER / name
