"""The collectives of segment parallelism: differentiable, counted, and called by every rank in the same order.

A rank without tokens calls all of them, too, with tensors of no rows. ``join`` ties what a rank received to what it
returns, so that the backward pass calls them as well where nothing that was received is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Ranks", "all_gather", "all_sum", "exchange", "join", "whole_loss"]

# The names of torch 2.13, and those of earlier versions.
_gather_rows: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_scatter_sums: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class Ranks:
    """The processes that share documents.

    Attributes:
        group: their process group.
        rank: the number of this process in it.
        size: K.
        sent: bytes that this process has sent, by purpose: ``neighbours``, ``states``, ``hierarchy`` and so on, with
            ``(backward)`` behind the name for gradients. A gathered tensor counts once for each of the other ranks.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group, self.rank, self.size = group, dist.get_rank(group), dist.get_world_size(group)
        self.sent: Counter[str] = Counter()

    def count(self, purpose: str, numbers: int, tensor: Tensor) -> None:
        """Add so many numbers of a tensor's type to what was sent."""
        self.sent[purpose] += numbers * tensor.element_size()


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Sequence[int], ranks: Ranks, purpose: str) -> Tensor:
        ctx.counts, ctx.ranks, ctx.purpose = counts, ranks, purpose
        most = max(counts)
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        found = rows.new_empty(ranks.size * most, *rows.shape[1:])
        _gather_rows(found, padded, group=ranks.group)
        ranks.count(purpose, (ranks.size - 1) * padded.numel(), padded)
        return torch.cat([part[:count] for part, count in zip(found.split(most), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ranks, most = ctx.ranks, max(ctx.counts)
        padded = grad.new_zeros(ranks.size, most, *grad.shape[1:])
        for part, found in zip(grad.split(list(ctx.counts)), padded, strict=True):
            found[: len(part)] = part
        own = grad.new_empty(most, *grad.shape[1:])
        _scatter_sums(own, padded.flatten(0, 1), group=ranks.group)
        ranks.count(f"{ctx.purpose} (backward)", (ranks.size - 1) * own.numel(), own)
        return own[: ctx.counts[ranks.rank]], None, None, None


def all_gather(rows: Tensor, counts: Sequence[int], ranks: Ranks, purpose: str) -> Tensor:
    """Return the rows of all ranks, those of rank 0 first.

    Args:
        rows: ``[n, ...]`` this rank's.
        counts: of every rank n; what is sent is padded to the largest.
        ranks: the processes.
        purpose: what the bytes are counted as.
    """
    if not max(counts):
        return rows
    gathered: Tensor = _AllGather.apply(rows, tuple(counts), ranks, purpose)
    return gathered


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, index: Tensor, sent: list[int], received: list[int], ranks: Ranks, purpose: str
    ) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows, ctx.sent, ctx.received, ctx.ranks, ctx.purpose = len(rows), sent, received, ranks, purpose
        return _all_to_all(rows[index], sent, received, ranks, purpose)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        back = _all_to_all(grad.contiguous(), ctx.received, ctx.sent, ctx.ranks, f"{ctx.purpose} (backward)")
        own = grad.new_zeros(ctx.rows, *grad.shape[1:])
        return own.index_add_(0, ctx.saved_tensors[0], back), None, None, None, None, None


def _all_to_all(rows: Tensor, sent: list[int], received: list[int], ranks: Ranks, purpose: str) -> Tensor:
    found = rows.new_empty(sum(received), *rows.shape[1:])
    dist.all_to_all_single(found, rows, received, sent, group=ranks.group)
    ranks.count(purpose, rows.numel(), rows)
    return found


def exchange(rows: Tensor, index: Tensor, sent: list[int], received: list[int], ranks: Ranks, purpose: str) -> Tensor:
    """Send chosen rows to other ranks, and return those that came, in the order of the ranks.

    Args:
        rows: ``[n, ...]``.
        index: the rows to send, for rank 0 first; a row may go to several ranks.
        sent: how many of them go to each rank.
        received: how many come from each rank.
        ranks: the processes.
        purpose: what the bytes are counted as.
    """
    found: Tensor = _Exchange.apply(rows, index, sent, received, ranks, purpose)
    return found


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks, purpose: str) -> Tensor:
        ctx.ranks, ctx.purpose = ranks, purpose
        return _sum(values, ranks, purpose)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _sum(grad, ctx.ranks, f"{ctx.purpose} (backward)"), None, None


def _sum(values: Tensor, ranks: Ranks, purpose: str) -> Tensor:
    summed = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(summed, group=ranks.group)
    # A ring sends every number twice, but for a rank's own part of them.
    ranks.count(purpose, 2 * (ranks.size - 1) * summed.numel() // ranks.size, summed)
    return summed


def all_sum(values: Tensor, ranks: Ranks, purpose: str) -> Tensor:
    """Return the sum over all ranks, each of which goes on from it: so its gradients are summed, too."""
    found: Tensor = _AllSum.apply(values, ranks, purpose)
    return found


class _WholeLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, ranks: Ranks) -> Tensor:
        return _sum(part, ranks, "loss")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, None


def whole_loss(part: Tensor, ranks: Ranks) -> Tensor:
    """Return the sum of the ranks' parts of a loss; the gradient is that of this rank's part."""
    found: Tensor = _WholeLoss.apply(part, ranks)
    return found


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, *received: Tensor) -> Tensor:
        ctx.received = len(received)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, *[None] * ctx.received


def join(value: Tensor, received: Sequence[Tensor]) -> Tensor:
    """Return the value as it is; its backward pass reaches what was received, also where nothing read that."""
    found: Tensor = _Join.apply(value, *received)
    return found
