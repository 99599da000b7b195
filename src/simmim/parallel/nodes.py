"""The pyramid over segments that several ranks hold: each makes the nodes of its own, and gathers what others need.

A node is *local* if all its segments belong to one rank, else *shared*. A rank makes its local nodes, and all ranks
gather those that others need: local nodes whose parent is shared (at most two a level, as the range of a rank's
segments is covered by so many whole blocks). Of them every rank makes the shared nodes, which are few: at most one for
each level and border between ranks. So a rank sends O(log S) nodes.

Letters: S segments of all documents, M nodes over them (as ``simmim.ops.pyramid.StatePyramid`` numbers them), P levels,
Z nodes that this rank has, U nodes of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from simmim.ops.layout import SegmentLayout
from simmim.ops.pyramid import PyramidNodes, StatePyramid
from simmim.parallel.collectives import Ranks, all_gather

__all__ = ["Merge", "SharedNodes", "SharedPyramid", "Step"]


@dataclass(frozen=True, eq=False)
class Step:
    """Says how some nodes of one level are made.

    Attributes:
        left: ``[U]`` the row of the left child in what the step is given.
        right: ``[U]`` that of the right one; of the left one, where there is no right one.
        left_node: ``[U]`` the number of the left child, among all M.
        right_node: ``[U]`` that of the right one.
        paired: ``[U]`` true where there are two.
    """

    left: Int[Tensor, " U"]
    right: Int[Tensor, " U"]
    left_node: Int[Tensor, " U"]
    right_node: Int[Tensor, " U"]
    paired: Bool[Tensor, " U"]


Merge = Callable[[Tensor, Tensor, Step], Tensor]
"""Returns new nodes from their left and right children: the left one, where there is no right one."""


class SharedPyramid:
    """Says which nodes this rank makes, gathers and has.

    Args:
        whole: the segments of all documents, laid out as if each were one token.
        owner: ``[S]`` the rank of each, which never falls.
        ranks: the processes.
        guests: segments for which another rank than the owner reads nodes, too.
        causal: nodes are read for what is before a segment only.
        tops: gather the topmost nodes of documents, too.
        device: of the nodes.

    Attributes:
        nodes: ``[Z]`` the numbers of the nodes that ``build`` returns, among all M.
        row: ``[M]`` where they are there; -1 for those that this rank does not have.
        leaf: ``[M]`` the first segment of each node.
        positions: ``[Z]`` what stands for a node's position: the mean of its children's.
        top: ``[B]`` the number of each document's topmost node.
        counts: of every rank the nodes that it sends.
    """

    def __init__(
        self,
        whole: SegmentLayout,
        owner: Int[Tensor, " S"],
        ranks: Ranks,
        *,
        guests: Int[Tensor, " G"],
        causal: bool,
        device: torch.device,
        tops: bool = False,
    ) -> None:
        self.pyramid, self.ranks, self._device = StatePyramid.of(whole), ranks, device
        # Of each level the owners of a node's first and last segment, its first segment, and its position.
        levels = [(owner, owner, torch.arange(len(owner)), whole.rank.double())]
        for pair in self.pyramid.pairings:
            low, high, leaf, position = levels[-1]
            middle = (position[pair.left] + position[pair.right]) / 2
            levels.append((low[pair.left], high[pair.right], leaf[pair.left], middle))
        self._starts = torch.tensor([0, *(len(level[0]) for level in levels)]).cumsum(0).tolist()
        low, high, self.leaf, positions = (torch.cat(parts) for parts in zip(*levels, strict=True))
        shared, top_level = low != high, torch.arange(len(low)) >= self._starts[-2]
        wanted = shared[self._parents(len(low))] | (top_level if tops else torch.zeros_like(top_level))
        if len(guests):
            found, exists = self.pyramid.siblings(whole.document[guests], whole.rank[guests], causal)
            wanted[found[exists]] = True
        sent = (wanted & ~shared).nonzero()[:, 0]
        sent = sent[low[sent].argsort(stable=True)]
        self.counts = torch.bincount(low[sent], minlength=ranks.size).tolist()
        own = (~shared & (low == ranks.rank)).nonzero()[:, 0]
        common = shared.nonzero()[:, 0]
        self.nodes = torch.cat((own, sent, common))
        # Of a node that is both made and gathered the own one counts.
        self.row = torch.full((len(low),), -1)
        for nodes, start in ((sent, len(own)), (own, 0), (common, len(own) + len(sent))):
            self.row[nodes] = torch.arange(len(nodes)) + start
        self._sent = self.row[sent[low[sent] == ranks.rank]].to(device)
        # A local node's children are local, too: rows of the level below alone.
        below = (torch.searchsorted(own, torch.tensor(self._starts))).tolist()
        self._local = [self._step(h, own[below[h] : below[h + 1]], below[h - 1]) for h in range(1, len(levels))]
        self._shared = [self._step(h, nodes, 0) for h, nodes in self._by_level(common)]
        self.positions = positions[self.nodes].to(device)
        self.top = self.pyramid.starts[-1]

    def build(self, leaves: Float[Tensor, "S1 *E"], merge: Merge, purpose: str) -> tuple[Tensor, Tensor]:
        """Make the nodes ``[Z, ...]`` of the states of this rank's segments; also return what was gathered."""
        made = [leaves]
        for step in self._local:
            made.append(merge(made[-1][step.left], made[-1][step.right], step))
        own = torch.cat(made)
        gathered = all_gather(own[self._sent], self.counts, self.ranks, purpose)
        nodes = torch.cat((own, gathered))
        for step in self._shared:
            nodes = torch.cat((nodes, merge(nodes[step.left], nodes[step.right], step)))
        return nodes, gathered

    def cover(self, layout: SegmentLayout, causal: bool) -> tuple[Int[Tensor, "S1 P"], Bool[Tensor, "S1 P"]]:
        """Return the rows of the nodes that cover the rest of the document for each segment here, and which exist.

        For a segment that no token of this rank is in they may be missing here, and do not count.
        """
        nodes, exists = self.pyramid.siblings(layout.document.cpu(), layout.rank.cpu(), causal)
        row = self.row[nodes]
        exists = exists & (row >= 0)
        return torch.where(exists, row, 0).to(self._device), exists.to(self._device)

    def _parents(self, nodes: int) -> Int[Tensor, " M"]:
        """Return the parent of each node; of a topmost one, itself."""
        parents = torch.arange(nodes)
        for level, pair in enumerate(self.pyramid.pairings):
            above = torch.arange(len(pair.left)) + self._starts[level + 1]
            parents[pair.left + self._starts[level]] = above
            parents[pair.right + self._starts[level]] = above
        return parents

    def _by_level(self, nodes: Int[Tensor, " U"]) -> Iterator[tuple[int, Int[Tensor, " U"]]]:
        """Cut ascending nodes into those of each level that has any."""
        cuts = torch.searchsorted(nodes, torch.tensor(self._starts)).tolist()
        for level in range(len(self._starts) - 1):
            if cuts[level] < cuts[level + 1]:
                yield level, nodes[cuts[level] : cuts[level + 1]]

    def _step(self, level: int, nodes: Int[Tensor, " U"], first_row: int) -> Step:
        """Say how nodes are made of the level below, whose rows are counted from ``first_row``."""
        pair, index, start = self.pyramid.pairings[level - 1], nodes - self._starts[level], self._starts[level - 1]
        left, right = pair.left[index] + start, pair.right[index] + start
        rows = self.row[left] - first_row, self.row[right] - first_row
        found = [tensor.to(self._device) for tensor in (*rows, left, right, pair.paired[index])]
        return Step(*found)


class SharedNodes(PyramidNodes):
    """The nodes that cover the rest of the document, of those that this rank has.

    Args:
        layout: the segments here.
        causal: cover only what is before each segment.
        shared: the nodes.
    """

    def __init__(self, layout: SegmentLayout, causal: bool, shared: SharedPyramid) -> None:
        self.pyramid = shared.pyramid
        self.row, self.mask = shared.cover(layout, causal)
