"""The loss of every head that predicts classes or tokens: a cross-entropy over labels that are checked first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from simmim.errors import ShapeError

__all__ = ["IGNORED", "check_labels", "token_loss"]

IGNORED = -100
"""The label of a position that no loss is wanted for."""


def token_loss(logits: Tensor, labels: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Return the cross-entropy in float32, averaged over the labels; 0 where none is wanted.

    Args:
        logits: ``[..., C]``, such as ``[B, N, vocab_size]``.
        labels: ``[...]`` whole numbers from 0 to C - 1, or -100 where no loss is wanted.
        num_items: labels by which to divide instead, for a batch that comes in parts (``num_items_in_batch``).

    Raises:
        ShapeError: labels are not as above.
    """
    check_labels(labels, logits.shape[:-1], logits.shape[-1])
    targets = labels.flatten().to(logits.device, torch.long)
    summed = F.cross_entropy(logits.flatten(0, -2).float(), targets, ignore_index=IGNORED, reduction="sum")
    count = (targets != IGNORED).sum() if num_items is None else torch.as_tensor(num_items, device=summed.device)
    return summed / count.clamp(min=1)


def check_labels(labels: Tensor, shape: Sequence[int], classes: int) -> None:
    """Refuse labels of another shape than that, or that are no classes; a device would only say that it failed.

    Args:
        labels: ``shape``, whole numbers.
        shape: one label for each prediction.
        classes: how many there are.

    Raises:
        ShapeError: shape, dtype or a value is not as expected.
    """
    if list(labels.shape) != list(shape):
        raise ShapeError(f"labels: expected one for each prediction, {list(shape)}, got {list(labels.shape)}")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ShapeError(f"labels: expected whole numbers, got {labels.dtype}; use labels.long()")
    if torch.compiler.is_compiling():  # what a compiled graph does must not depend on values
        return
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORED)]
    if len(wrong):
        raise ShapeError(
            f"labels: expected classes from 0 to {classes - 1}, or {IGNORED} for no loss, got {int(wrong[0])}; "
            "give the model as many classes as the labels have (num_labels, or vocab_size for tokens)"
        )
