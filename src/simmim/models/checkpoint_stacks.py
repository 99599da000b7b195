"""Checks which stacks of layers a checkpoint contains, so that no model uses untrained layers."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from simmim.errors import CheckpointError

__all__ = ["CAUSAL_DECODER", "DECODER", "ENCODER", "check_stacks"]

ENCODER, DECODER, CAUSAL_DECODER = "an encoder", "a decoder that reads an encoder", "a causal decoder without encoder"
"""The kinds of stacks."""


def check_stacks(
    path: object,
    model: str,
    stacks: frozenset[str],
    architectures: Iterable[str],
    known: dict[str, frozenset[str]],
    weights: Collection[str],
    missing: Collection[str],
) -> None:
    """Refuse a checkpoint of another class that lacks a stack of the model, instead of initialising it at random.

    A head may be new, as before fine-tuning; transformers warns about it.

    Args:
        path: the checkpoint, for the error.
        model: the name of the model's class.
        stacks: the stacks of that class.
        architectures: the class names in the configuration of the checkpoint.
        known: the stacks of every class.
        weights: the names of the model's weights.
        missing: the names that the checkpoint lacks.

    Raises:
        CheckpointError: the checkpoint lacks a stack, or a whole layer.
    """
    saved = [name for name in architectures if name in known]
    if model in saved:  # the same class: transformers reports missing weights
        return
    present = frozenset[str]().union(*(known[name] for name in saved))
    lacking = sorted(stacks - present) if saved else []
    if not lacking and not _layers(weights) <= _layers(set(weights) - set(missing)):
        lacking = ["all of its layers"]
    if lacking:
        of = " and ".join(saved) or "another class"
        raise CheckpointError(
            f"{path}: expected a checkpoint of {model}, or one that holds {' and '.join(lacking)}; got one of {of}; "
            "load it with the class that config.json names in its architectures, or train a model of this class"
        )


def _layers(weights: Iterable[str]) -> set[str]:
    """Return the names of the layers that have one of these weights."""
    parts = [name.split(".") for name in weights]
    return {".".join(words[: words.index("layers") + 2]) for words in parts if "layers" in words}
