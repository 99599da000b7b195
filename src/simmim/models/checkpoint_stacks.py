"""Which stacks of layers a checkpoint holds, so that no model is made of weights that were never trained."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from simmim.errors import CheckpointError

__all__ = ["CAUSAL_DECODER", "DECODER", "ENCODER", "check_stacks"]

ENCODER, DECODER, CAUSAL_DECODER = "an encoder", "a decoder that reads an encoder", "a causal decoder without encoder"
"""The stacks that there are."""


def check_stacks(
    path: object,
    model: str,
    stacks: frozenset[str],
    architectures: Iterable[str],
    known: dict[str, frozenset[str]],
    weights: Collection[str],
    missing: Collection[str],
) -> None:
    """Refuse a checkpoint of another class without a stack of this one, rather than start its layers at random.

    A head may be new, as it is before fine-tuning; transformers says so.

    Args:
        path: the checkpoint, for the message.
        model: the name of the class that was loaded.
        stacks: what that class consists of.
        architectures: names of the classes that the checkpoint says it is of.
        known: the stacks of every class.
        weights: names of the model's weights.
        missing: those that the checkpoint did not hold.

    Raises:
        CheckpointError: it lacks a stack, or a whole layer.
    """
    saved = [name for name in architectures if name in known]
    if model in saved:  # its own: where weights are missing, transformers reports them
        return
    held = frozenset[str]().union(*(known[name] for name in saved))
    lacking = sorted(stacks - held) if saved else []
    if not lacking and not _layers(weights) <= _layers(set(weights) - set(missing)):
        lacking = ["all of its layers"]
    if lacking:
        of = " and ".join(saved) or "another class"
        raise CheckpointError(
            f"{path}: expected a checkpoint of {model}, or one that holds {' and '.join(lacking)}; got one of {of}; "
            "load it with the class that config.json names in its architectures, or train a model of this class"
        )


def _layers(weights: Iterable[str]) -> set[str]:
    """Return the names of the layers that have a weight among these."""
    parts = [name.split(".") for name in weights]
    return {".".join(words[: words.index("layers") + 2]) for words in parts if "layers" in words}
