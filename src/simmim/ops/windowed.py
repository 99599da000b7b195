"""Attention to a window of whole segments and to states, in one softmax, for which no key is copied (on CPUs).

Neighbouring segments stand below each other, so the windows of all segments are one strided view in which they overlap.
States are read where they stand. A softmax over two sets of keys is made of those over each, o_w and o_s, which weigh
as the sums that they were divided by (FlashAttention, arXiv 2205.14135, §3.1):

    o = exp(a_w - a) o_w + exp(a_s - a) o_s        a = log(exp(a_w) + exp(a_s)), a_w = log-sum-exp of the scores

and each set's gradients are those that torch's kernel gives for o and a instead of its own.

Letters: S segments of all documents together, R of them in a chunk, L tokens of a segment, H heads, D head width, W
keys of a window, U rows of states of C each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from simmim.ops.attention import StateBias, score_bias

__all__ = ["Reading", "Window", "is_supported", "windowed_attention"]

LIMIT = 1 << 21
"""Most numbers of a chunk: keys and values of its windows, or scores of states a head: 8 MiB in float32."""


class Window(NamedTuple):
    """The tokens that each segment reads.

    Attributes:
        before: segments before the own one.
        after: segments after it.
        mask: ``[R, 1 or L, W]`` true where a token may read a key, in the order of the text.
    """

    before: int
    after: int
    mask: Bool[Tensor, "R _ W"]


class Reading(NamedTuple):
    """Which states each segment reads.

    Attributes:
        row: ``[S]`` the row of states that each segment reads, or ``[S, C]`` rows of one state.
        mask: ``[S, C]`` true where it may read one.
        bias: ``[R]`` what is added to the scores; None for nothing.
    """

    row: Int[Tensor, "S *C"]
    mask: Bool[Tensor, "S C"]
    bias: Float[Tensor, " R"] | None


def is_supported(q: Tensor) -> bool:
    """Tell whether these queries can be attended with: a CPU's, of 32 bits or more.

    In half precision either part would be rounded before they are added. ``sdpa_kernel`` may have chosen another
    kernel; flash attention is what torch calls its fused one on CPUs too.
    """
    traced = type(q) is not Tensor or torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    if traced:  # a graph is to hold for other batches, and a fake tensor has no numbers to group segments by
        return False
    exact = q.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return exact and q.device.type == "cpu" and torch.backends.cuda.flash_sdp_enabled()


def windowed_attention(
    q: Float[Tensor, "R L H D"],
    k: Float[Tensor, "S L H D"],
    v: Float[Tensor, "S L H D"],
    window: Window,
    states: tuple[Float[Tensor, "U _ H D"], Float[Tensor, "U _ H D"]] | None = None,
    reading: Reading | None = None,
    first: int = 0,
) -> Float[Tensor, "R L H D"]:
    """Let the tokens of some segments attend to their windows and states.

    Cost: R·L·(W + C), and memory for a chunk beside the result. Every segment's window holds a key that each of its
    tokens may read.

    Args:
        q: queries.
        k: keys of all tokens.
        v: their values.
        window: of these segments.
        states: keys and values, ``[U, C, H, D]``; None for none.
        reading: who reads them; its bias gets no gradient.
        first: the number of the first of these segments.
    """
    tensors = (q, k, v, *(states or ()))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        out: Tensor = _WindowedAttention.apply(window, reading, first, *tensors)[0]
        return out
    return _forward(q, k.contiguous(), v.contiguous(), window, states or (), reading, first)[0]


class _Chunk(NamedTuple):
    """Segments that attend to states in one call of the kernel.

    Attributes:
        rows: their queries.
        source: the row of states that they share, and how many of its states; or the rows of each of them.
        bias: what is added to the scores.
        readable: whether a segment may read any.
    """

    rows: slice
    source: tuple[int, int] | Int[Tensor, "R C"]
    bias: Float[Tensor, "_ 1 _ C"]
    readable: Bool[Tensor, " R"]

    def select(self, states: Float[Tensor, "U _ H D"]) -> Float[Tensor, "_ H C D"]:
        """Return the keys or values that they read: one set for all of them, or one each."""
        if isinstance(self.source, tuple):
            return states[None, self.source[0], : self.source[1]].transpose(1, 2)
        return states[self.source].flatten(1, 2).transpose(1, 2)

    def add(self, states: Float[Tensor, "U _ H D"], grad: Float[Tensor, "_ H C D"]) -> None:
        """Add the gradient of what ``select`` returned to that of the states."""
        found = grad.transpose(1, 2)
        if isinstance(self.source, tuple):
            states[self.source[0], : self.source[1]] += found[0]
        else:
            states.index_add_(0, self.source.flatten(), found.reshape(-1, 1, *states.shape[2:]))

    def split(self, tokens: Float[Tensor, "R L H *D"]) -> Float[Tensor, "_ H M *D"]:
        """Return the tokens of these rows as the kernel takes them: in one row, if they read one set."""
        part = tokens[self.rows]
        shape = (1, -1) if isinstance(self.source, tuple) else part.shape[:2]
        return part.reshape(*shape, *part.shape[2:]).transpose(1, 2)


def _chunks(reading: Reading, q: Tensor, first: int) -> Iterator[_Chunk]:
    """Cut the segments into chunks; those that may read no state are in none, or masked."""
    rows, length, heads, width = q.shape
    columns, shared = reading.mask.shape[1], reading.row.dim() == 1
    row, groups = reading.row[first : first + rows], [(0, rows)]
    if shared:
        ends = torch.unique_consecutive(row, return_counts=True)[1].cumsum(0).tolist()
        groups = list(pairwise([0, *ends]))
    for begin, end in groups:
        for part in _slices(begin, end, columns * (length if shared else 2 * heads * width)):
            mask = reading.mask[first + part.start : first + part.stop]
            read = mask.any(0).nonzero()
            if not len(read):
                continue
            used = int(read[-1]) + 1 if shared else columns
            added = None if reading.bias is None else StateBias(slice(None), reading.bias[part])
            bias = score_bias(mask[:, None, :used], q.dtype, length, added)
            if shared:  # the tokens of all of them are in one row
                yield _Chunk(part, (int(row[begin]), used), bias.reshape(1, 1, -1, used), mask.any(1))
            else:
                yield _Chunk(part, row[part], bias, mask.any(1))


def _slices(begin: int, end: int, width: int) -> Iterator[slice]:
    """Cut segments into chunks, for each of which ``width`` numbers are made; unlike ``chunks``, with gradients too."""
    most = max(1, LIMIT // max(1, width))
    for start in range(begin, end, most):
        yield slice(start, min(start + most, end))


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: Window,
    states: Sequence[Tensor],
    reading: Reading | None,
    first: int,
) -> tuple[Float[Tensor, "R L H D"], Float[Tensor, "R L H"]]:
    """Return what is attended to, and the log-sum-exp of all scores of each token."""
    parts, norms = [], []
    for rows in _slices(0, q.shape[0], window.mask[0].numel()):
        bias = score_bias(window.mask[rows], q.dtype, q.shape[1])
        part, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q[rows].transpose(1, 2), _windows(k, window, rows, first), _windows(v, window, rows, first), attn_mask=bias
        )
        parts.append(part.transpose(1, 2))
        norms.append(sums.transpose(1, 2))
    out, norm = (torch.cat(some) if len(some) > 1 else some[0] for some in (parts, norms))
    for chunk in () if reading is None else _chunks(reading, q, first):
        far, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            chunk.split(q), *map(chunk.select, states), attn_mask=chunk.bias
        )
        near, near_sums = out[chunk.rows], norm[chunk.rows]
        # The kernel calls the log of an empty sum 0.
        far_sums = sums.transpose(1, 2).reshape(near_sums.shape)
        far_sums = far_sums.masked_fill(~chunk.readable[:, None, None], float("-inf"))
        total = torch.logaddexp(near_sums, far_sums)
        share = (far_sums - total).exp_()[..., None]
        torch.lerp(near, far.transpose(1, 2).reshape(near.shape), share, out=near)
        norm[chunk.rows] = total
    return out, norm


def _windows(tokens: Float[Tensor, "S L H D"], window: Window, rows: slice, first: int) -> Float[Tensor, "R H W D"]:
    """Return the windows of some segments: a view; at the ends of all segments, a copy with zeros around it."""
    (segments, *_), start, stop = tokens.shape, first + rows.start, first + rows.stop
    missing = max(0, window.before - start), max(0, stop + window.after - segments)
    part = tokens[max(0, start - window.before) : stop + window.after]
    if any(missing):
        part = F.pad(part, (0, 0, 0, 0, 0, 0, *missing))
    _, length, heads, width = part.shape
    shape = stop - start, heads, (window.before + 1 + window.after) * length, width
    return part.as_strided(shape, (length * heads * width, width, heads * width, 1))


def _add_windows(
    grad: Float[Tensor, "R H W D"], tokens: Float[Tensor, "S L H D"], window: Window, rows: slice, first: int
) -> None:
    """Add the gradient of what ``_windows`` returned to that of the tokens."""
    segments, length = tokens.shape[:2]
    blocks = grad.transpose(1, 2).unflatten(1, (-1, length))
    for block, step in enumerate(range(-window.before, window.after + 1)):
        begin, end = first + rows.start + step, first + rows.stop + step
        start, stop = max(0, begin), min(segments, end)
        if start < stop:
            tokens[start:stop] += blocks[start - begin : stop - begin, block]


class _WindowedAttention(torch.autograd.Function):
    """Keeps what attention to the own segment alone would keep: queries, keys, values, the result and its sums."""

    @staticmethod
    def forward(
        window: Window, reading: Reading | None, first: int, q: Tensor, k: Tensor, v: Tensor, *states: Tensor
    ) -> tuple[Tensor, Tensor]:
        return _forward(q, k.contiguous(), v.contiguous(), window, states, reading, first)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.window, ctx.reading, ctx.first, *tensors = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*output, *tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        out, norm, q, k, v, *far = ctx.saved_tensors
        window, first, k, v = ctx.window, ctx.first, k.contiguous(), v.contiguous()
        grad_q, grad_k, grad_v, *grad_far = (torch.zeros_like(tensor) for tensor in (q, k, v, *far))
        for rows in _slices(0, q.shape[0], 2 * window.mask.shape[-1] * q.shape[2:].numel()):
            one, two, three = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad_out[rows].transpose(1, 2),
                q[rows].transpose(1, 2),
                _windows(k, window, rows, first),
                _windows(v, window, rows, first),
                out[rows].transpose(1, 2),
                norm[rows].transpose(1, 2),
                *(0.0, False),
                attn_mask=score_bias(window.mask[rows], q.dtype, q.shape[1]),
            )
            grad_q[rows] = one.transpose(1, 2)
            _add_windows(two, grad_k, window, rows, first)
            _add_windows(three, grad_v, window, rows, first)
        for chunk in _chunks(ctx.reading, q, first) if far else ():
            one, two, three = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                *(chunk.split(grad_out), chunk.split(q), chunk.select(far[0]), chunk.select(far[1])),
                *(chunk.split(out), chunk.split(norm), 0.0, False),
                attn_mask=chunk.bias,
            )
            grad_q[chunk.rows] += one.transpose(1, 2).reshape(grad_q[chunk.rows].shape)
            chunk.add(grad_far[0], two)
            chunk.add(grad_far[1], three)
        return None, None, None, grad_q, grad_k, grad_v, *grad_far
