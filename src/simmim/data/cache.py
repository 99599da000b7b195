"""Keeps what takes time to make in one folder of the user's: made once, whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["cache_folder", "made_once"]


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache: the folder given, else `$SIMMIM_CACHE`, else `~/.cache/simmim`."""
    return Path(cache_dir or os.environ.get("SIMMIM_CACHE") or Path.home() / ".cache" / "simmim")


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder unless it exists; another process may do the same at the same time.

    Args:
        folder: The folder to make.
        make: Called with an empty folder to write into, which takes its place at the end.

    Returns:
        The folder.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
    ) as workshop:
        draft = Path(workshop) / folder.name
        draft.mkdir()
        make(draft)
        try:
            draft.replace(folder)
        except OSError:
            if not folder.exists():  # else another process has made it meanwhile: that one is as good
                raise
    return folder
