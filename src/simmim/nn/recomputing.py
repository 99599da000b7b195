"""Drops what a layer's backward pass can compute again at little cost from what is kept anyway.

Autograd keeps the input of every matrix product. In a layer many of those inputs are cheap functions of tensors that
are kept as well: a norm of the residual stream, the gate of an FFN times its other half. Of 21.6 numbers a token and
channel they are 8.7, and computing them again costs a few percent of a step. Unlike gradient checkpointing no matrix
product is repeated, and results are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import local
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

__all__ = ["concatenated", "is_recomputing", "recomputed", "recomputing"]


class _Recomputed:
    """A tensor that is made when it is asked for, and again dropped after its last expected use."""

    def __init__(self, function: Callable[..., Tensor], inputs: tuple[_Packed, ...]) -> None:
        self.function, self.inputs, self.uses = function, inputs, 0
        self.value: Tensor | None = None

    @torch.no_grad()
    def get(self) -> Tensor:
        """Return the tensor; operations that ask one after the other (the products of gate and up) share it."""
        value = self.function(*map(_unpack, self.inputs)) if self.value is None else self.value
        self.uses -= 1
        self.value = value if self.uses > 0 else None
        return value


_Packed = Tensor | tuple[_Recomputed, torch.Size]
"""What autograd keeps: a tensor, or how to make it, and of which shape it was."""


class _State(local):
    """The tensors of this thread that need not be kept, by address; None outside ``recomputing``.

    They are alive as long as the block, so that no other tensor gets their address.
    """

    tensors: dict[int, tuple[Tensor, _Recomputed]] | None = None


_STATE = _State()


def recomputing() -> AbstractContextManager[None]:
    """Let operations in this block not keep what ``recomputed`` returned; blocks may stand in each other.

    Nothing changes while a graph is compiled or exported, under ``torch.func``, or where others decide what is kept
    (gradient checkpointing, offloading).
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or _STATE.tensors is not None:
        return _NOTHING
    # ``torch.func`` refuses hooks. Both questions are asked of torch's own bookkeeping, which has no public form.
    hooks: Any = torch._C._autograd
    if not hooks._saved_tensors_hooks_is_enabled() or hooks._top_saved_tensors_default_hooks(False) is not None:
        return _NOTHING
    return _recomputing()


_NOTHING = nullcontext()


@contextmanager
def _recomputing() -> Iterator[None]:
    _STATE.tensors = {}
    try:
        with saved_tensors_hooks(_pack, _unpack):
            yield
    finally:
        _STATE.tensors = None


def _known() -> dict[int, tuple[Tensor, _Recomputed]] | None:
    """Return the tensors that need not be kept; None where there is no block, or a graph that would hold them."""
    return None if torch.compiler.is_compiling() else _STATE.tensors


def is_recomputing() -> bool:
    """Tell whether this is in a block of ``recomputing`` that has an effect."""
    return _known() is not None


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return ``function(*inputs)``, which the backward pass computes again rather than keeping it.

    Args:
        function: is cheap and deterministic; it is called again with the same tensors.
        *inputs: are kept in any case, or recomputed themselves.
    """
    made, known = function(*inputs), _known()
    if known is not None and made.requires_grad and (address := _address(made)):
        known[address] = made, _Recomputed(function, tuple(_pack(tensor.detach()) for tensor in inputs))
    return made


def concatenated(parts: Sequence[Tensor]) -> Tensor:
    """Return the parts below each other; made again if each of them is."""
    if is_recomputing() and all(_find(part) for part in parts):
        return recomputed(lambda *parts: torch.cat(parts), *parts)
    return torch.cat(tuple(parts))


def _address(tensor: Tensor) -> int:
    """Return where a tensor's numbers are; 0 if it has none, none of its own (a fake one), or gaps between them."""
    return tensor.data_ptr() if type(tensor) in (Tensor, nn.Parameter) and tensor.is_contiguous() else 0


def _find(tensor: Tensor) -> _Recomputed | None:
    """Return how a tensor is made, if it is one that was ``recomputed`` or a view of all of it."""
    known = _known()
    made, entry = known.get(_address(tensor), (None, None)) if known else (None, None)
    same = made is not None and made.numel() == tensor.numel() and made.dtype == tensor.dtype
    return entry if same else None


def _pack(tensor: Tensor) -> _Packed:
    entry = _find(tensor)
    if entry is None:
        return tensor
    entry.uses += 1
    return entry, tensor.shape


def _unpack(packed: _Packed) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed[0].get().view(packed[1])
