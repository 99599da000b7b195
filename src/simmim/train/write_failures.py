"""Says of whatever goes wrong in writing weights that it did, and what is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from simmim.errors import CheckpointError
from simmim.train.checkpoints import newest_whole_checkpoint

__all__ = ["what_is_left", "write_failures_named"]


@contextmanager
def write_failures_named(path: Path, checkpoints: Path) -> Iterator[None]:
    """Turn what a full or broken disk raises, in torch and safetensors too, into one clear error.

    Args:
        path: what the block writes.
        checkpoints: the folder of the checkpoints, of which the last is named.

    Raises:
        CheckpointError: the block failed to write.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot write it: {_reason(error)}. Free some space or repair the disk. "
            f"{what_is_left(checkpoints)}"
        ) from error


def _reason(error: BaseException) -> str:
    """Return the error of the system, which torch hides behind its own; else that of the library."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    message = str(error).split("\n")[0]
    # torch writes files by itself, and then knows no more than that less was written than it had
    return f"the disk is full or broken ({message})" if isinstance(error, RuntimeError) else message


def what_is_left(checkpoints: Path) -> str:
    """Name the newest whole checkpoint in a folder."""
    last, _ = newest_whole_checkpoint(checkpoints)
    return f"{last} is whole: go on from it with --resume" if last else "There was no checkpoint before"
