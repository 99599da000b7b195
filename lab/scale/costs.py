"""Operations and bytes of a training step on K ranks: segment parallel, ring attention and Ulysses, by formula.

One document of N tokens in S = N/L segments, the same number of them on each rank. A multiplication and its addition
are two operations; a backward pass costs twice its forward pass. Letters: E width, I width of the FFN, n neighbours,
d tokens that a shifted segment reaches back over the border between two ranks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Link", "Model", "Step", "exported_nodes", "neighbour_tokens", "ring", "segment_parallel", "ulysses"]


@dataclass(frozen=True)
class Model:
    """What is trained."""

    layers: int = 24
    width: int = 1024
    ffn: int = 2816
    segment: int = 128
    vocabulary: int = 32_768
    bytes_of_number: int = 2

    @property
    def parameters(self) -> int:
        """Return the weights of all layers and of the embedding, which is the head's, too."""
        return self.layers * (4 * self.width**2 + 3 * self.width * self.ffn) + self.vocabulary * self.width


@dataclass(frozen=True)
class Link:
    """What a rank sends over: so many bytes a second, each message so many seconds late."""

    name: str
    bandwidth: float
    latency: float

    def seconds(self, size: float, messages: float) -> float:
        """Return the time of so many messages of altogether so many bytes."""
        return size / self.bandwidth + messages * self.latency


@dataclass(frozen=True)
class Step:
    """What one training step costs a rank.

    Attributes:
        flops: operations of this rank, of which the backward pass takes two thirds.
        sent: bytes that it sends, those for the sum of the weights' gradients left out.
        messages: that follow each other.
        gradients: bytes that it sends for the sum of gradients, beside the backward pass, as DDP and FSDP do.
        overlaps: whether all other sending goes on beside computing, too.
    """

    flops: float
    sent: float
    messages: float
    gradients: float = 0
    overlaps: bool = False

    def seconds(self, rate: float, link: Link) -> float:
        """Return the time of the step at so many operations a second."""
        computing, sending = self.flops / rate, link.seconds(self.sent, self.messages)
        summing = max(0, link.seconds(self.gradients, 0) - computing * 2 / 3)
        return (max(computing, sending) if self.overlaps else computing + sending) + summing


def neighbour_tokens(segment: int, neighbours: int, over: int, causal: bool) -> tuple[int, int]:
    """Return the tokens that a rank reads of the ranks before and after it: nL + d, and nL + (L - d if d), or none.

    Args:
        segment: L.
        neighbours: n.
        over: d, L - segment_shift in a shifted layer, else 0.
        causal: nothing after is read.
    """
    before = neighbours * segment + over
    return before, 0 if causal else neighbours * segment + (segment - over if over else 0)


def exported_nodes(borders: Sequence[int], asking: Sequence[int] = ()) -> list[int]:
    """Return how many nodes of the pyramid each rank sends, counted one by one.

    Args:
        borders: the first segment of each rank, and last the number of all.
        asking: segments for which another rank than the owner reads nodes on the right, too.
    """
    segments, counts = borders[-1], [0] * (len(borders) - 1)
    height = max(segments - 1, 0).bit_length()
    for rank, (low, high) in enumerate(pairwise(borders)):

        def inside(level: int, block: int, low: int = low, high: int = high) -> bool:
            begin, end = block << level, min((block + 1) << level, segments)
            return low <= begin < end <= high

        sent = {
            (level, block)
            for level in range(height)
            for block in {low >> level, (low >> level) + 1, (high - 1) >> level, ((high - 1) >> level) - 1}
            if inside(level, block) and not inside(level + 1, block >> 1)
        }
        for segment in asking:
            if low <= segment < high:
                sent |= {(h, (segment >> h) ^ 1) for h in range(height) if inside(h, (segment >> h) ^ 1)}
        counts[rank] = len(sent)
    return counts


def _dense(model: Model, tokens: float) -> float:
    """Return the forward operations of projections and FFN of so many tokens, in all layers, and of the head."""
    layer = 8 * model.width**2 + 6 * model.width * model.ffn
    return tokens * (model.layers * layer + 2 * model.width * model.vocabulary)


def _gradients(model: Model, ranks: int) -> float:
    """Return the bytes of a ring that adds up all gradients."""
    return 2 * (ranks - 1) / ranks * model.parameters * model.bytes_of_number


def segment_parallel(model: Model, tokens: int, ranks: int, *, pyramid: bool, causal: bool = True) -> Step:
    """Return the cost of a step with SMI attention, of which each rank holds contiguous segments."""
    segment, width, size = model.segment, model.width, model.bytes_of_number
    segments, held = tokens // segment, tokens / ranks
    reach = math.ceil(math.log2(segments)) if pyramid else segments
    own = (2 if causal else 3) * segment
    # Whole segments beside the own ones are worked on, too: neighbours, of which the results are not used.
    worked = held + (0 if ranks == 1 else (1 if causal else 2) * segment)
    reading = worked * 4 * width * (own + (reach if pyramid or not causal else reach / 2))
    # States of all segments are projected by every rank; of the pyramid its own, and those of all ranks.
    nodes = segments
    if pyramid:
        shared = 0 if ranks == 1 else 2 * ranks
        nodes = 2 * segments // ranks + shared
    flops = _dense(model, held) + model.layers * (reading + (4 + 4 * pyramid) * nodes * width**2)
    if ranks == 1:
        return Step(3 * flops, 0, 0)
    gathered = max(exported_nodes([segments * r // ranks for r in range(ranks + 1)])) if pyramid else segments / ranks
    near = sum(neighbour_tokens(segment, 1, 0, causal))
    numbers = model.layers * 2 * width * (near + (ranks - 1) * gathered)
    # A gather takes log2 K steps of doubling messages, and so does its gradient.
    messages = model.layers * 2 * (1 + math.ceil(math.log2(ranks)))
    return Step(3 * flops, numbers * size, messages, _gradients(model, ranks))


def _full(model: Model, tokens: int, ranks: int) -> float:
    """Return the operations of a step of causal full attention, of which the masked half is not computed."""
    held = tokens / ranks
    return 3 * (_dense(model, held) + model.layers * held * 4 * model.width * tokens / 2)


def ring(model: Model, tokens: int, ranks: int) -> Step:
    """Return the cost of a step with ring attention (Liu et al., arXiv 2310.01889): keys and values go round.

    K - 1 times a layer a rank hands on keys and values of N/K tokens, and in the backward pass their gradients, too.
    """
    if ranks == 1:
        return Step(_full(model, tokens, 1), 0, 0)
    numbers = model.layers * (ranks - 1) * 6 * (tokens / ranks) * model.width
    return Step(
        _full(model, tokens, ranks),
        numbers * model.bytes_of_number,
        model.layers * 2 * (ranks - 1),
        _gradients(model, ranks),
        overlaps=True,
    )


def ulysses(model: Model, tokens: int, ranks: int, heads: int = 16) -> Step | None:
    """Return the cost of a step with Ulysses (Jacobs et al., arXiv 2309.14509): heads are exchanged for tokens.

    Queries, keys, values and results of N/K tokens are sent to all other ranks, forward and backward; there are no more
    ranks than heads, or None is returned.
    """
    if ranks > heads:
        return None
    if ranks == 1:
        return Step(_full(model, tokens, 1), 0, 0)
    numbers = model.layers * 8 * (tokens / ranks) * model.width * (ranks - 1) / ranks
    return Step(
        _full(model, tokens, ranks),
        numbers * model.bytes_of_number,
        model.layers * 8 * (ranks - 1),
        _gradients(model, ranks),
    )
