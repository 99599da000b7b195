"""The pyramid over the segments of several ranks, up to the same global representation on each of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from simmim.nn.hierarchy import HierarchicalEncoder, Pyramid
from simmim.parallel.attention import Current, derive
from simmim.parallel.collectives import join
from simmim.parallel.nodes import SharedPyramid, Step

__all__ = ["parallel_hierarchy"]


class _ParallelHierarchy(HierarchicalEncoder):
    """Merges the segments of all ranks; the pyramid that it returns has a top for every document and no levels."""

    current: Current

    def forward(
        self,
        segments: Float[Tensor, "S1 L1 E"],
        mask: Bool[Tensor, "S1 L1"],
        counts: Int[Tensor, " B"],
        rows: int | None = None,
    ) -> Pyramid:
        shares = self.current.shares
        assert shares is not None
        here = shares.layout(0, causal=False, neighbours=0)
        guests = here.owner.new_empty(0)
        shared = SharedPyramid(
            *(here.whole, here.owner, here.ranks),
            guests=guests,
            causal=False,
            device=segments.device,
            tops=True,
        )
        # The rank's own documents may be shorter than a segment, and rows of a document that it lacks are empty.
        leaves = F.pad(segments, (0, 0, 0, here.segment_length - segments.shape[1]))[: here.segments]
        leaves = leaves.masked_fill(~here.mask[..., None], 0)
        # A node has the positions of its first segment.
        at = here.whole.rank * here.segment_length
        size = (shares.lengths[here.whole.document] - at).clamp(max=here.segment_length)
        slots = torch.arange(here.segment_length)
        filled = (slots < size[shared.leaf][:, None]).to(segments.device)

        def merge(left: Tensor, right: Tensor, step: Step) -> Tensor:
            both = filled[step.left_node] & filled[step.right_node] & step.paired[:, None]
            return torch.where(both[..., None], self.aggregator(left, right, both), left)

        nodes, gathered = shared.build(leaves, merge, "hierarchy")
        # A document without tokens has no top: an empty one stands in.
        exists = here.counts > 0
        top_nodes = shared.top.clamp(max=max(0, len(shared.row) - 1)).to(segments.device)
        row = shared.row.to(segments.device)[top_nodes] if len(shared.row) else top_nodes
        top_mask = exists[:, None] & (filled[top_nodes] if len(filled) else filled.new_zeros(len(row), len(slots)))
        nodes = torch.cat((nodes, nodes.new_zeros(1, *nodes.shape[1:])))
        top = join(nodes[torch.where(exists, row, len(nodes) - 1)], [gathered])
        return Pyramid((), top, top_mask, top.sum(1) / top_mask.sum(1).clamp(min=1).to(top.dtype)[:, None])


def parallel_hierarchy(module: HierarchicalEncoder, current: Current) -> None:
    """Let an encoder's pyramid stand over the segments of all ranks."""
    derive(module, _ParallelHierarchy, current)
