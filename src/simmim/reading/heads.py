"""The retrieval heads of a model: the few whose queries find the segment that answers a question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simmim.errors import CheckpointError

__all__ = ["HEADS_FILE", "Head", "load_heads", "save_heads"]

HEADS_FILE = "retrieval_heads.json"


@dataclass(frozen=True, order=True)
class Head:
    """A query head: its layer and its number there."""

    layer: int
    head: int


def load_heads(path: Path) -> list[Head] | None:
    """Read the retrieval heads beside a model's other files; None if they were never looked for.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [Head(int(layer), int(head)) for layer, head in content["heads"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected retrieval heads in JSON: {error}; delete it to find them again"
        ) from error


def save_heads(path: Path, heads: Sequence[Head]) -> None:
    """Write retrieval heads, the best first."""
    from simmim.atomic import replaced_file

    with replaced_file(path) as stream:
        json.dump({"heads": [[head.layer, head.head] for head in heads]}, stream)
