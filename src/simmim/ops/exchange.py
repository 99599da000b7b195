"""What segment states tell each other in the broadcasts: each reads those within its reach.

Letters: S segments of all documents together, Z states, C states that one segment reads, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from simmim.ops.layout import Reach

__all__ = ["exchange_states"]

States = tuple[Float[Tensor, "Z H D"], Float[Tensor, "Z H D"]]
Null = tuple[Float[Tensor, "S H D"], Float[Tensor, "S H D"]]


def exchange_states(
    q: Float[Tensor, "S H D"],
    states: States,
    reach: Reach,
    *,
    null: Null | None = None,
    on_weights: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "S H D"]:
    """Return Σ_{j≠i} α_ij (s_j Wv) for every state (source §3.1; causal: j < i), zero where there is nothing to read.

    α_ij = softmax over j of (s_i Wq)(s_j Wk)ᵀ / √D. ``on_weights`` gets the weights ``[S, H, C]``, and
    ``[S, H, C + 1]`` with a null slot. Cost: S·C; for ``EverySegment`` the square of the longest document's segments,
    for each document.
    """
    if not q.shape[0]:
        return torch.zeros_like(q)
    scale = q.shape[-1] ** -0.5
    scores = (reach.scores(q, states[0]) * scale).masked_fill(~reach.mask[:, None], float("-inf"))
    if null is None:
        # The sum over nothing is zero: a segment that may read no other reads this slot, whose value is zero.
        nothing = ~reach.mask.any(1)
        extra = torch.zeros_like(q[..., :1]).masked_fill(~nothing[:, None, None], float("-inf"))
    else:
        extra = (q * null[0]).sum(-1, keepdim=True) * scale
    weights = torch.softmax(torch.cat((scores, extra), dim=-1), dim=-1)
    if on_weights is not None:
        weights = on_weights(weights) if null is not None else F.pad(on_weights(weights[..., :-1]), (0, 1))
    read = reach.mix(weights[..., :-1], states[1])
    return read if null is None else read + weights[..., -1:] * null[1]
