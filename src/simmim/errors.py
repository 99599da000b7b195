"""The errors that SimMIM raises; each message names the argument, what was expected, what came and what to do."""

import errno

__all__ = ["CheckpointError", "ConfigError", "DataError", "ShapeError", "SimMIMError", "is_full"]

_FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG")}


class SimMIMError(Exception):
    """Base of every error that SimMIM raises on purpose."""


class ConfigError(SimMIMError, ValueError):
    """A setting has a value that the library does not know or cannot combine."""


class ShapeError(SimMIMError, ValueError):
    """A tensor does not have the shape, dtype or device that an operation needs."""


class DataError(SimMIMError, ValueError):
    """A text, a row or a corpus is not of the expected format."""


class CheckpointError(SimMIMError, OSError):
    """A saved model or run is missing, incomplete or damaged."""


def is_full(error: OSError) -> bool:
    """Return whether an error of the system means that a disk, a quota or a file is full."""
    return error.errno in _FULL
