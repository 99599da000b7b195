"""The files that a phase of a training run leaves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from simmim.train.checkpoints import checkpoint_to_resume, checkpoints_in

__all__ = ["Phase"]


@dataclass(frozen=True)
class Phase:
    """Names what a phase of a run leaves in its folder."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints, one each."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """JSON lines that say how the phase goes."""
        return self.path / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's events, where the recipe asks for them."""
        return self.path / "tensorboard"

    @property
    def model(self) -> Path:
        """The finished model with its tokenizer and the records of the run."""
        return self.path / "model"

    def last_checkpoint(self, *, with_best: bool = False) -> Path | None:
        """Return the checkpoint to go on from, the newest one that is whole; None if there has been none yet.

        Args:
            with_best: whether the checkpoint of the lowest validation loss until then must be whole, too.

        Raises:
            CheckpointError: there are checkpoints, and none is whole.
        """
        return checkpoint_to_resume(self.checkpoints, with_best=with_best)

    def has_begun(self) -> bool:
        """Tell whether there is anything that a new run would overwrite."""
        return bool(checkpoints_in(self.checkpoints)) or os.path.lexists(self.model)
