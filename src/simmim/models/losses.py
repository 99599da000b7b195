"""The loss of every head that predicts classes or tokens: a cross-entropy over labels that are checked first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from simmim.errors import ShapeError
from simmim.nn.copy_head import CopyHead, Source
from simmim.nn.past_copy_head import Continuations, PastCopyHead

__all__ = ["IGNORED", "check_labels", "copying_loss", "head_loss", "predict_tokens", "token_loss"]

IGNORED = -100
"""The label of a position that no loss is wanted for."""
_PART_ON_CPU, _PART = 1 << 20, 1 << 26
"""Most logits at a time: on a CPU as many as its cache has space for, else few launches matter."""


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
    return _mean(summed, (targets != IGNORED).sum(), num_items)


def head_loss(hidden: Tensor, weight: Tensor, labels: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Return ``token_loss(hidden @ weight.T, labels, num_items)`` without ever holding all logits.

    The logits of a few tokens at a time are made, turned into gradients and forgotten, and tokens without a label cost
    nothing: with a vocabulary of V that is less memory by V numbers a token, and less time, too.

    Args:
        hidden: ``[..., E]``, what the head reads.
        weight: ``[V, E]``, the head's.
        labels: ``[...]`` as of ``token_loss``.
        num_items: as of ``token_loss``.

    Raises:
        ShapeError: labels are not as of ``token_loss``.
    """
    check_labels(labels, hidden.shape[:-1], len(weight))
    targets = labels.flatten().to(hidden.device, torch.long)
    wanted = (targets != IGNORED).nonzero()[:, 0]
    return _mean(_HeadLoss.apply(hidden.flatten(0, -2)[wanted], weight, targets[wanted], None), len(wanted), num_items)


class _HeadLoss(torch.autograd.Function):
    """The summed cross-entropy of a linear head, whose gradients are made part by part on the way.

    With ``copied`` it is the sum of -log(p + exp(copied)), where p is the target's probability.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, copied: Tensor | None) -> Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        wants_hidden, wants_weight, *_ = ctx.needs_input_grad
        grad_hidden = torch.zeros_like(hidden) if wants_hidden else None
        grad_weight = (
            torch.zeros_like(weight, dtype=torch.promote_types(dtype, torch.float32)) if wants_weight else None
        )
        grad_copied = None if copied is None else torch.empty_like(copied)
        summed = hidden.new_zeros((), dtype=torch.promote_types(dtype, torch.float32))
        with torch.autocast(kind, enabled=False):
            head = weight.to(dtype)
            size = _part(weight)
            for rows in (slice(start, start + size) for start in range(0, len(hidden), size)):
                part, wanted = hidden[rows].to(dtype), targets[rows, None]
                logits = (part @ head.T).to(summed.dtype)
                logits -= logits.amax(1, keepdim=True)
                chosen = logits.gather(1, wanted)
                shares = logits.exp_()
                norm = shares.sum(1, keepdim=True)
                log_probability, posterior = chosen - norm.log(), torch.ones_like(norm)
                if copied is not None and grad_copied is not None:
                    other = copied[rows, None].to(log_probability.dtype)
                    posterior = torch.sigmoid(log_probability - other)  # its part of the whole probability
                    log_probability = torch.logaddexp(log_probability, other)
                    grad_copied[rows] = (posterior - 1)[:, 0].to(copied.dtype)
                summed -= log_probability.sum()
                if grad_hidden is None and grad_weight is None:
                    continue
                shares *= posterior / norm
                shares.scatter_add_(1, wanted, -posterior)  # now the gradient of the logits
                shares = shares.to(dtype)
                if grad_hidden is not None:
                    grad_hidden[rows] = (shares @ head).to(hidden.dtype)
                if grad_weight is not None:
                    grad_weight += shares.T @ part
        ctx.save_for_backward(grad_hidden, grad_weight, grad_copied)
        ctx.dtype = weight.dtype
        return summed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, Tensor | None]:
        grad_hidden, grad_weight, grad_copied = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden * grad,
            None if grad_weight is None else (grad_weight * grad).to(ctx.dtype),
            None,
            None if grad_copied is None else grad_copied * grad,
        )


def copying_loss(
    copy_head: CopyHead | PastCopyHead,
    hidden: Tensor,
    weight: Tensor,
    source: Source | Continuations,
    labels: Tensor,
    num_items: Tensor | int | None = None,
) -> Tensor:
    """Return ``token_loss`` of what a copy head makes of ``hidden @ weight.T``, without ever holding distributions.

    Args:
        copy_head: what mixes in tokens of the source, or of the past.
        hidden: ``[R, T, E]``, what both heads read.
        weight: ``[V, E]``, of the head over the vocabulary.
        source: what can be copied.
        labels: ``[R, T]`` as of ``token_loss``.
        num_items: as of ``token_loss``.

    Raises:
        ShapeError: labels are not as of ``token_loss``.
    """
    check_labels(labels, hidden.shape[:2], len(weight))
    wanted = labels != IGNORED
    targets = labels.masked_fill(~wanted, 0)
    copied, total = copy_head.weigh(hidden, targets, *source)
    summed = _HeadLoss.apply(hidden[wanted], weight, targets[wanted], copied[wanted]) + total[wanted].sum()
    return _mean(summed, wanted.sum(), num_items)


def predict_tokens(
    head: nn.Module,
    hidden: Tensor,
    labels: Tensor | None,
    options: Mapping[str, Any],
    copy_head: CopyHead | PastCopyHead | None = None,
    source: Source | Continuations | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the loss, if there are labels, and the logits, if they are wanted.

    Args:
        head: over the vocabulary.
        hidden: ``[B, N, E]``, what it reads.
        labels: ``[B, N]`` as of ``token_loss``, or None.
        options: of the model's call: ``num_items_in_batch``, and ``skip_logits`` where only the loss is wanted.
        copy_head: what mixes in tokens of the source, or of the past, if something does.
        source: what it can copy.
    """
    count, skips = options.get("num_items_in_batch"), bool(options.get("skip_logits")) and labels is not None
    # an adapter or a hook on the head must be called
    if labels is not None and skips and type(head) is nn.Linear and not torch.compiler.is_compiling():
        if copy_head is None or source is None:
            return head_loss(hidden, head.weight, labels, count), None
        return copying_loss(copy_head, hidden, head.weight, source, labels, count), None
    logits: Tensor = head(hidden)
    if copy_head is not None and source is not None:
        logits = copy_head(hidden, logits, *source)
    loss = None if labels is None else token_loss(logits, labels, count)
    return loss, None if skips else logits


def _mean(summed: Tensor, found: Tensor | int, num_items: Tensor | int | None) -> Tensor:
    """Divide a loss by the labels that were found, or by as many as are given; 0 labels have no loss."""
    return summed / torch.as_tensor(found if num_items is None else num_items, device=summed.device).clamp(min=1)


def _part(weight: Tensor) -> int:
    """Return the tokens whose logits are in memory at a time."""
    return max(1, (_PART_ON_CPU if weight.device.type == "cpu" else _PART) // max(1, len(weight)))


def check_labels(labels: Tensor, shape: Sequence[int], classes: int, prefix: str = "") -> None:
    """Refuse labels of another shape than that, or that are no classes; a device would only say that it failed.

    Args:
        labels: ``shape``, whole numbers.
        shape: one label for each prediction.
        classes: how many there are.
        prefix: what the argument's name has before ``labels``.

    Raises:
        ShapeError: shape, dtype or a value is not as expected.
    """
    if list(labels.shape) != list(shape):
        raise ShapeError(f"{prefix}labels: expected one for each prediction, {list(shape)}, got {list(labels.shape)}")
    if labels.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8):  # the others do not hold -100
        raise ShapeError(f"{prefix}labels: expected whole numbers, got {labels.dtype}; use labels.long()")
    if torch.compiler.is_compiling():  # what a compiled graph does must not depend on values
        return
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORED)]
    if len(wrong):
        raise ShapeError(
            f"{prefix}labels: expected classes from 0 to {classes - 1}, or {IGNORED} for no loss, got {int(wrong[0])}; "
            "give the model as many classes as the labels have (num_labels, or vocab_size for tokens)"
        )
