"""Where the commands find the loader of saved models."""

from simmim.tasks.checkpoints import load_model

__all__ = ["load_model"]
