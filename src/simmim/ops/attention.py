"""The gathered softmax: segments attend to keys from several tensors, which training gathers again rather than keeps.

Letters: S segments, L tokens of a segment, H heads, D head width, K keys that a segment reads, U rows of a source, C
keys of such a row, R segments of a chunk. What a segment reads is a list of *pieces*. Each names a source of keys
(tokens of segments, states, null slots) and the row of it that each segment reads; its rows of all pieces, side by
side, are its K keys. A segment and its neighbours are three pieces of one source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "Piece",
    "StateBias",
    "chunks",
    "fused_attention",
    "gather",
    "gathered_attention",
    "scaled_dot_product_attention",
    "score_bias",
]

GATHER_LIMIT = 1 << 22
"""Most numbers (keys and values) gathered at a time, unless autograd is to keep them: 16 MiB in float32."""

Sources = Sequence[Float[Tensor, "_ _ H D"]]


class Piece(NamedTuple):
    """Some of the keys that segments read.

    Attributes:
        source: its number among the sources.
        row: ``[S]`` the row of the source that each segment reads, or ``[S, C]`` rows of one key; None if row i is
            segment i's.
    """

    source: int
    row: Int[Tensor, "S *C"] | None


class StateBias(NamedTuple):
    """What is added to the scores of the states, the same for all of them and for all tokens of a segment.

    Attributes:
        columns: of the states among the gathered keys.
        value: ``[R]`` for each segment of queries.
    """

    columns: slice
    value: Float[Tensor, " R"]

    def of(self, rows: slice) -> StateBias:
        """Return that of some of the segments."""
        return StateBias(self.columns, self.value[rows])


def chunks(rows: int, width: int) -> Iterator[slice]:
    """Cut rows into chunks whose gathered keys are of limited size; one where gradients are wanted, or exported.

    Args:
        rows: how many there are: segments, or queries.
        width: numbers that are gathered for one of them.
    """
    if torch.compiler.is_exporting():  # for any number of rows
        yield slice(None)
        return
    size = max(1, rows) if torch.is_grad_enabled() else max(1, GATHER_LIMIT // max(1, width))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def gather(sources: Sources, pieces: Sequence[Piece], rows: slice = slice(None)) -> Float[Tensor, "R K H D"]:
    """Put side by side what these segments read."""
    found = []
    for source, row in pieces:
        if row is None:
            found.append(sources[source][rows])
        else:
            index = row[rows]
            # [R] rows of many keys each, or [R, C] rows of one key each: both become [R, keys, H, D].
            read = sources[source].index_select(0, index.flatten())
            found.append(read.view(index.shape[0], -1, *read.shape[2:]))
    return torch.cat(found, dim=1) if len(found) > 1 else found[0]


def gathered_attention(
    q: Float[Tensor, "R L H D"],
    keys: Sources,
    values: Sources,
    pieces: Sequence[Piece],
    mask: Bool[Tensor, "R _ K"],
    rows: slice = slice(None),
    state_bias: StateBias | None = None,
) -> Float[Tensor, "R L H D"]:
    """Let the tokens of these segments attend to what they gather, in one softmax.

    With gradients, on a CPU, keys are gathered chunk by chunk, and again in the backward pass: what is kept is what
    attention to the own segment alone would keep. Elsewhere autograd keeps them, and without gradients nothing is kept.
    The kernel is the same, torch's fused attention.

    Args:
        q: queries.
        keys: sources of keys.
        values: sources of values, of the same shapes.
        pieces: what each segment reads, in the order of the mask.
        mask: true where a token may read a key; one row for all tokens of a segment, or one each.
        rows: the segments of the queries.
        state_bias: is added to the scores of states, and gets no gradient; None for nothing.
    """
    tensors = (q, *keys, *values)
    # ``sdpa_kernel`` may have chosen another kernel; flash attention is what torch calls its fused one on CPUs too.
    # Asked first whether it is compiling, since a graph cannot hold the answer to the next question.
    fused = not torch.compiler.is_compiling() and q.device.type == "cpu" and torch.backends.cuda.flash_sdp_enabled()
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if not (fused and wanted and q.shape[0] == len(keys[0])):
        return fused_attention(q, gather(keys, pieces, rows), gather(values, pieces, rows), mask, state_bias)
    if torch.is_autocast_enabled("cpu"):  # which knows torch's attention, but not ours
        tensors = tuple(tensor.to(torch.get_autocast_dtype("cpu")) for tensor in tensors)
    out: Tensor = _GatheredAttention.apply(mask, state_bias, pieces, *tensors)[0]
    return out


def fused_attention(
    q: Float[Tensor, "S L H D"],
    k: Float[Tensor, "S K H D"],
    v: Float[Tensor, "S K H D"],
    mask: Bool[Tensor, "S _ K"] | None,
    state_bias: StateBias | None = None,
    *,
    is_causal: bool = False,
) -> Float[Tensor, "S L H D"]:
    """Return softmax(q kᵀ / √D) v, head by head; the matrix of weights is never stored."""
    allowed = None if mask is None else mask[:, None].expand(-1, -1, q.shape[1], -1)
    if mask is not None and state_bias is not None:
        allowed = score_bias(mask, q.dtype, q.shape[1], state_bias)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=is_causal).transpose(1, 2)


class _GatheredAttention(torch.autograd.Function):
    """Torch's fused attention on CPUs, with keys that the backward pass gathers anew."""

    @staticmethod
    def forward(
        mask: Tensor, state_bias: StateBias | None, pieces: Sequence[Piece], q: Tensor, *sources: Tensor
    ) -> tuple[Tensor, Tensor]:
        keys, values = _halves(sources)
        out, norm = torch.empty_like(q), None
        for rows in chunks(q.shape[0], _width(mask, q)):
            k, v = gather(keys, pieces, rows), gather(values, pieces, rows)
            bias = score_bias(mask[rows], q.dtype, q.shape[1], state_bias and state_bias.of(rows))
            part, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *_by_head(q[rows], k, v), attn_mask=bias
            )
            out[rows] = part.transpose(1, 2)
            norm = sums.new_empty(q.shape[0], *sums.shape[1:]) if norm is None else norm
            norm[rows] = sums
        assert norm is not None
        return out, norm

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        mask, state_bias, pieces, q, *sources = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(mask, q, *output, *sources)
        ctx.pieces, ctx.state_bias = pieces, state_bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        mask, q, out, norm, *sources = ctx.saved_tensors
        keys, values = _halves(sources)
        # Torch's backward kernel takes twice as long in half precision, and errs more; chunks are small.
        wide = torch.promote_types(q.dtype, torch.float32)
        grads = [torch.zeros_like(source, dtype=wide) for source in sources]
        grad_keys, grad_values = _halves(grads)
        grad_q = torch.empty_like(q)
        for rows in chunks(q.shape[0], _width(mask, q)):
            k, v = gather(keys, ctx.pieces, rows), gather(values, ctx.pieces, rows)
            part, grad_k, grad_v = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                *(tensor.to(wide) for tensor in _by_head(grad_out[rows], q[rows], k, v, out[rows])),
                norm[rows],
                0.0,
                False,
                attn_mask=score_bias(mask[rows], wide, q.shape[1], ctx.state_bias and ctx.state_bias.of(rows)),
            )
            grad_q[rows] = part.transpose(1, 2)
            _scatter(grad_k.transpose(1, 2), grad_keys, ctx.pieces, rows)
            _scatter(grad_v.transpose(1, 2), grad_values, ctx.pieces, rows)
        return None, None, None, grad_q, *(grad.to(q.dtype) for grad in grads)


def _scatter(grad: Tensor, sources: Sequence[Tensor], pieces: Sequence[Piece], rows: slice) -> None:
    """Add the gradient of what ``gather`` returned to those of its sources."""
    start = 0
    for number, row in pieces:
        source = sources[number]
        # A row of many keys, or as many rows of one key as the first segment has.
        width = source.shape[1] if row is None else source.shape[1] * row[:1].numel()
        part, start = grad[:, start : start + width], start + width
        if row is None:
            source[rows] += part
        else:
            source.index_add_(0, row[rows].flatten(), part.reshape(-1, *source.shape[1:]))


def _halves(tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Divide the sources into those of keys and those of values."""
    return tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]


def _width(mask: Tensor, q: Tensor) -> int:
    """Return how many numbers one segment gathers: keys and values."""
    return 2 * mask.shape[-1] * q.shape[2:].numel()


def _by_head(*tensors: Tensor) -> list[Tensor]:
    return [tensor.transpose(1, 2) for tensor in tensors]


def score_bias(
    mask: Bool[Tensor, "R _ K"], dtype: torch.dtype, length: int, state_bias: StateBias | None = None
) -> Float[Tensor, "R 1 L K"]:
    """Return what is added to all scores: -inf where the mask is false, and ``state_bias``."""
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    if state_bias is not None:
        bias[..., state_bias.columns] = state_bias.value[:, None, None].to(dtype)
    return bias.masked_fill_(~mask, float("-inf"))[:, None].expand(-1, -1, length, -1)


def scaled_dot_product_attention(
    q: Float[Tensor, "B H N D"],
    k: Float[Tensor, "B H K D"],
    v: Float[Tensor, "B H K D"],
    attn_mask: Bool[Tensor, "#B #H #N K"] | Float[Tensor, "#B #H #N K"] | None = None,
    *,
    is_causal: bool = False,
) -> Float[Tensor, "B H N D"]:
    """Return softmax(q kᵀ / √D + mask) v, as torch's function of this name does, but on CUDA without cuDNN.

    On Hopper GPUs torch prefers cuDNN, which plans for hundreds of milliseconds whenever it meets a new shape, and here
    nearly every batch has one: how many segments and states there are depends on the documents
    (``docs/decisions/0009-no-cudnn-plans.md``). Who allows cuDNN alone (``torch.nn.attention.sdpa_kernel``), or
    compiles, gets it.

    Args:
        q: queries.
        k: keys.
        v: values.
        attn_mask: true where a key may be read, or what is added to the scores.
        is_causal: a query reads no later key.
    """
    if q.device.type != "cuda" or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, is_causal=is_causal)
    with _without_cudnn():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, is_causal=is_causal)


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Take cuDNN's attention out of torch's choice for a while, unless it is the only one."""
    kernels = torch.backends.cuda
    others = kernels.flash_sdp_enabled() or kernels.mem_efficient_sdp_enabled() or kernels.math_sdp_enabled()
    if not (others and kernels.cudnn_sdp_enabled()):
        yield
        return
    kernels.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        kernels.enable_cudnn_sdp(True)
