"""Keeps what takes time to make in one folder of the user's: made once, whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from simmim.errors import is_full

__all__ = ["cache_folder", "made_once"]


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache: the folder given, else `$SIMMIM_CACHE`, else `simmim` in the user's folder for caches.

    That one is `$XDG_CACHE_HOME` or `~/.cache` on Linux, and what the system has for it elsewhere.
    """
    return Path(cache_dir or os.environ.get("SIMMIM_CACHE") or user_cache_path("simmim", appauthor=False))


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder unless it exists; another process may do the same at the same time.

    Args:
        folder: The folder to make.
        make: Called with an empty folder to write into, which takes its place at the end.

    Returns:
        The folder.

    Raises:
        OSError: There is no room for it, or whatever else stopped `make`.
    """
    if not folder.exists():
        try:
            _make(folder, make)
        except OSError as error:
            if not is_full(error):
                raise
            reason = f"cannot write to the cache: {os.strerror(error.errno or 0)}; make room, or set SIMMIM_CACHE"
            raise OSError(error.errno, f"{reason} to a folder on another disk", str(folder)) from error
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
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
