"""How two neighbouring nodes of the pyramid become one (``aggregator``): concat, weighted_sum."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from simmim.nn.registry import Registry

__all__ = ["AGGREGATORS", "Aggregator", "Concat", "WeightedSum"]


class Aggregator(nn.Module):
    """Merges pairs of nodes, position by position. Subclass it and register the class in ``AGGREGATORS``.

    Args:
        hidden_size: E.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size

    def forward(self, left: Float[Tensor, "S L E"], right: Float[Tensor, "S L E"]) -> Float[Tensor, "S L E"]:
        """Return the merged nodes."""
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

    def forward(self, left: Float[Tensor, "S L E"], right: Float[Tensor, "S L E"]) -> Float[Tensor, "S L E"]:
        """Return [left; right] W."""
        out: Tensor = self.merge(torch.cat((left, right), dim=-1))
        return out


@AGGREGATORS.register("weighted_sum")
class WeightedSum(Aggregator):
    """A sum of the two vectors with learned weights that add up to one in every channel (source §3.2)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.logits = nn.Parameter(torch.zeros(2, hidden_size))

    def forward(self, left: Float[Tensor, "S L E"], right: Float[Tensor, "S L E"]) -> Float[Tensor, "S L E"]:
        """Return a·left + (1 - a)·right."""
        share = torch.softmax(self.logits, dim=0)
        return share[0] * left + share[1] * right
