"""How two neighbouring nodes of a pyramid become one (``aggregator``): concat, weighted_sum, attention."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from simmim.nn.registry import Registry
from simmim.nn.rotary import rotary_embedding, rotate
from simmim.ops.attention import scaled_dot_product_attention

__all__ = ["AGGREGATORS", "Aggregator", "Attention", "Concat", "WeightedSum"]


class Aggregator(nn.Module):
    """Merges pairs of nodes, position by position.

    One of your own is a class, registered under the name that ``aggregator`` then takes:

        @AGGREGATORS.register("maximum")
        class Maximum(Aggregator):
            def forward(self, left, right, both):
                return torch.maximum(left, right)

    Where only the left node has a vector, the pyramid carries that up unchanged, whatever is returned there.

    Args:
        hidden_size: E.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size

    def forward(
        self, left: Float[Tensor, "S L E"], right: Float[Tensor, "S L E"], both: Bool[Tensor, "S L"]
    ) -> Float[Tensor, "S L E"]:
        """Return the merged nodes.

        Args:
            left: ``[S, L, E]`` has a vector wherever the right node has one.
            right: ``[S, L, E]``; what stands where ``both`` is false is finite and means nothing.
            both: ``[S, L]`` true where both nodes have a vector.
        """
        raise TypeError(f"{type(self).__name__} must define forward")


AGGREGATORS: Registry[Aggregator] = Registry("aggregator")


@AGGREGATORS.register("concat")
class Concat(Aggregator):
    """A linear map of the two vectors side by side, 2E -> E (source §4.2)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.merge = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        with torch.no_grad():
            self.merge.weight.copy_(self.start())

    def start(self) -> Float[Tensor, "E F"]:
        """Return the weights to begin with: the mean of the two, so that a high pyramid keeps its scale."""
        return torch.eye(self.hidden_size).repeat(1, 2) / 2

    def forward(
        self, left: Float[Tensor, "S L E"], right: Float[Tensor, "S L E"], both: Bool[Tensor, "S L"]
    ) -> Float[Tensor, "S L E"]:
        """Return [left; right] W."""
        out: Tensor = self.merge(torch.cat((left, right), dim=-1))
        return out


@AGGREGATORS.register("weighted_sum")
class WeightedSum(Aggregator):
    """A sum of the two vectors with learned weights that add up to one in every channel (source §3.2)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.logits = nn.Parameter(torch.zeros(2, hidden_size))

    def forward(
        self, left: Float[Tensor, "S L E"], right: Float[Tensor, "S L E"], both: Bool[Tensor, "S L"]
    ) -> Float[Tensor, "S L E"]:
        """Return a·left + (1 - a)·right."""
        share = torch.softmax(self.logits, dim=0)
        return share[0] * left + share[1] * right


@AGGREGATORS.register("attention")
class Attention(Aggregator):
    """L queries, the means of the two vectors of each position, attend to the 2L vectors of both nodes.

    mean + o_proj(attention), which starts as the mean. Each side has a learned vector that its keys carry, and
    positions inside a node are rotary (if the head width is even), so that a query can tell left from right and near
    from far. Cost: 12·E² + 8·L·E FLOPs for each position of a new node.
    """

    HEAD_DIM = 64
    """Heads have the widest even width up to this of which E is a multiple; an odd E has one head."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        fitting = [width for width in range(2, self.HEAD_DIM + 1, 2) if hidden_size % width == 0]
        self.head_dim = max(fitting, default=hidden_size)
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.side = nn.Parameter(0.02 * torch.randn(2, hidden_size))
        nn.init.zeros_(self.o_proj.weight)

    def forward(
        self, left: Float[Tensor, "S L E"], right: Float[Tensor, "S L E"], both: Bool[Tensor, "S L"]
    ) -> Float[Tensor, "S L E"]:
        """Return mean + o_proj(softmax(Q Kᵀ / √D) V)."""
        mean = (left + right) / 2
        length = left.shape[1]
        # Written out for both sides, so that the 2L vectors are never copied side by side before they are projected.
        keys = torch.cat((self.k_proj(left + self.side[0]), self.k_proj(right + self.side[1])), dim=1)
        values = torch.cat((self.v_proj(left), self.v_proj(right)), dim=1)
        q, k, v = (x.unflatten(-1, (-1, self.head_dim)) for x in (self.q_proj(mean), keys, values))
        if self.head_dim % 2 == 0:
            positions = torch.arange(length, device=left.device)
            cos, sin = rotary_embedding(positions.repeat(2), self.head_dim, 10_000.0, q.dtype)
            cos, sin = cos.expand(left.shape[0], -1, -1), sin.expand(left.shape[0], -1, -1)
            q, k = rotate(q, (cos[:, :length], sin[:, :length])), rotate(k, (cos, sin))
        mask = torch.cat((torch.ones_like(both), both), dim=1)[:, None, None]
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        attended = scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)
        out: Tensor = mean + self.o_proj(attended)
        return out
