"""What treats every token by itself: the norm, the gated FFN, and the chunks that keep what they compute small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from simmim.nn.recomputing import concatenated, is_recomputing, recomputed, recomputing

__all__ = ["GatedFFN", "RMSNorm", "chunked", "chunked_tokens"]

FEW = 1 << 14
"""Numbers that cost less than the operations do."""
LIMIT = 1 << 21
"""Most numbers of a chunk: 8 MiB in float32."""


class GatedFFN(nn.Module):
    """SwiGLU: down(silu(gate x) * up x) (GLU variants, arXiv 2002.05202)."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, hidden_states: Float[Tensor, "*B E"]) -> Float[Tensor, "*B E"]:
        """Map every token; of the four tensors between the products the backward pass keeps two, gate and up."""
        with recomputing():
            gate = recomputed(nn.functional.silu, self.gate_proj(hidden_states))
            out: Tensor = self.down_proj(recomputed(torch.mul, gate, self.up_proj(hidden_states)))
        return out


class RMSNorm(nn.RMSNorm):
    """x / √(mean(x²) + eps) · weight over the last dimension (arXiv 1910.07467), as ``torch.nn.RMSNorm`` has it.

    Of a single token its many small operations cost more than its numbers: while decoding on a CPU there are four.

    Args:
        hidden_size: E.
        eps: added to the mean of the squares.
    """

    weight: nn.Parameter
    eps: float

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__(hidden_size, eps=eps)
        _store_constants(eps, hidden_size)

    def forward(self, x: Float[Tensor, "*B E"]) -> Float[Tensor, "*B E"]:
        """Norm every vector."""
        if is_recomputing():
            return self._kept_as_its_input(x)
        constants = None
        if not _is_traced(x) and x.numel() <= FEW and x.dtype == torch.float32 and x.device.type == "cpu":
            constants = None if torch.is_grad_enabled() else _CONSTANTS.get((self.eps, x.shape[-1]))
        if constants is None:
            return super().forward(x)
        # √(Σx² + eps·E) = hypot(|x|, √(eps·E)), and x · weight · √E divided by it.
        zero, least = constants
        length = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), least)
        return torch.addcdiv(zero, x * self.weight, length, value=x.shape[-1] ** 0.5)

    def _kept_as_its_input(self, x: Float[Tensor, "*B E"]) -> Float[Tensor, "*B E"]:
        """Norm every vector, and let the backward pass keep x and one number a vector."""
        if x.device.type != "cpu":
            return recomputed(super().forward, x)
        # What torch computes on CPUs, operation by operation.
        wide = torch.promote_types(x.dtype, torch.float32)
        exact = x if x.dtype == wide else recomputed(lambda x: x.to(wide), x)
        scale = torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self.eps)
        normed = recomputed(torch.mul, exact, scale)
        return recomputed(lambda normed, weight: (normed * weight).to(x.dtype), normed, self.weight)


_CONSTANTS: dict[tuple[float, int], tuple[Float[Tensor, ""], Float[Tensor, ""]]] = {}
"""0, and √(eps · width), as numbers that no operation has to make first; ``forward`` only reads them."""


def _store_constants(eps: float, width: int) -> None:
    """Make the constants of a norm, unless what tensors are made of now is of no use outside (a fake mode's)."""
    with torch.inference_mode(False):
        made = torch.zeros((), device="cpu"), torch.tensor((eps * width) ** 0.5, device="cpu")
    if all(type(tensor) is Tensor for tensor in made):
        _CONSTANTS.setdefault((eps, width), made)


def _is_traced(x: Tensor) -> bool:
    """Tell whether a graph is being made, which is to hold one norm and no trick of ours (ONNX has no ``hypot``)."""
    return type(x) is not Tensor or torch.compiler.is_compiling() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined]


def chunked(function: Callable[..., Tensor], *tensors: Shaped[Tensor, "R ..."], width: int) -> Shaped[Tensor, "R ..."]:
    """Return ``function(*tensors)`` for a function that treats every row alike, chunk by chunk.

    Args:
        function: gets the same rows of every tensor.
        tensors: each of R rows.
        width: numbers that the function makes of a row at a time; chunks have at most ``LIMIT`` of them.
    """
    if torch.compiler.is_exporting():  # for any number of rows
        return function(*tensors)
    rows = tensors[0].shape[0]
    size = max(1, LIMIT // max(1, width))
    if rows <= size:
        return function(*tensors)
    if torch.is_grad_enabled():
        if tensors[0].device.type != "cpu" or torch.compiler.is_compiling():
            return function(*tensors)
        # A CPU takes large pieces of memory from the system each time, which costs more than the chunks do.
        pieces = zip(*(tensor.split(size) for tensor in tensors), strict=True)
        return concatenated([function(*piece) for piece in pieces])
    out = None
    for start in range(0, rows, size):
        part = function(*(tensor[start : start + size] for tensor in tensors))
        if out is None:
            out = part.new_empty(rows, *part.shape[1:])
        out[start : start + size] = part
    assert out is not None
    return out


def chunked_tokens(tokens: Float[Tensor, "*B E"], *modules: Callable[[Tensor], Tensor]) -> Float[Tensor, "*B E"]:
    """Apply modules that treat every token alike, such as a norm and then an FFN, chunk by chunk."""

    def apply(chunk: Tensor) -> Tensor:
        with recomputing():
            for module in modules:
                chunk = module(chunk)
        return chunk

    if not torch.compiler.is_exporting() and tokens.shape[-2] == 1:  # while decoding, where every call counts
        return apply(tokens)
    return chunked(apply, tokens.flatten(0, -2), width=8 * tokens.shape[-1]).view_as(tokens)
