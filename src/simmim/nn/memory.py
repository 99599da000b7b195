"""What a decoder sees of the encoder (``memory``): every token, the nodes of the pyramid, or the tokens by segments.

Letters: B documents, N tokens, L segment length, S segments of the longest document, M memory vectors, E width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from simmim.nn.cross_attention import CrossAttention, TwoLevelCrossAttention
from simmim.nn.hierarchy import HierarchicalEncoder
from simmim.nn.registry import Registry
from simmim.ops.layout import SegmentLayout

__all__ = ["MEMORIES", "Memory", "PyramidMemory", "TokenMemory", "TwoLevelMemory", "readable"]


class Memory(nn.Module):
    """Makes a memory of the encoder's output and nothing else, so that it can be made again from the output.

    Subclass it and register the class in ``MEMORIES``.

    Args:
        hidden_size: E.
        segment_length: L.
        aggregator: a name in ``AGGREGATORS``, for a memory that has a pyramid.
    """

    def __init__(self, hidden_size: int, segment_length: int, aggregator: str) -> None:
        super().__init__()
        self.hidden_size, self.segment_length = hidden_size, segment_length

    def reader(self, num_heads: int, top_k: int) -> CrossAttention:
        """Build the cross-attention that a decoder layer reads this memory with."""
        return CrossAttention(self.hidden_size, num_heads)

    def forward(
        self, tokens: Float[Tensor, "B N E"], mask: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B M E"], Bool[Tensor, "B M"] | None]:
        """Return the memory and which of its vectors may be read, at least one a document; None if all may.

        Args:
            tokens: ``[B, N, E]`` the encoder's output, zero at padding.
            mask: ``[B, N]`` true for tokens, false for padding; None if all are tokens.
        """
        raise TypeError(f"{type(self).__name__} must define forward")


MEMORIES: Registry[Memory] = Registry("memory")


@MEMORIES.register("tokens")
class TokenMemory(Memory):
    """Every token: M = N."""

    def forward(
        self, tokens: Float[Tensor, "B N E"], mask: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B M E"], Bool[Tensor, "B M"] | None]:
        """Return the tokens as they are."""
        return tokens, None if mask is None else readable(mask)


@MEMORIES.register("pyramid")
class PyramidMemory(Memory):
    """One vector for every node of the pyramid over the document's segments, from the segments up: M <= 2S - 1.

    A node's vector is the mean over its positions; a node that is carried up unchanged counts once. Cost: S - 1
    aggregations, and 2S - 1 vectors to read instead of N.
    """

    def __init__(self, hidden_size: int, segment_length: int, aggregator: str) -> None:
        super().__init__(hidden_size, segment_length, aggregator)
        self.hierarchy = HierarchicalEncoder(hidden_size, aggregator)

    def forward(
        self, tokens: Float[Tensor, "B N E"], mask: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B M E"], Bool[Tensor, "B M"] | None]:
        """Build the pyramid and return the means of its nodes, level by level."""
        batch, length, width = tokens.shape
        layout = SegmentLayout.build(batch, length, self.segment_length, attention_mask=mask, device=tokens.device)
        levels = self.hierarchy(layout.to_segments(tokens), layout.mask, layout.counts, layout.rows).levels
        size = max(1, 2 * layout.max_segments - 1)
        documents = torch.arange(batch, device=tokens.device)
        slots, means, offset = [], [], torch.zeros_like(layout.counts)
        # Of the nodes that a level has of a document, those made of two are new, and they come first.
        new_counts = [layout.counts, *(below.counts // 2 for below in levels[:-1])]
        for level, new in zip(levels, new_counts, strict=True):
            rows = level.counts if level.rows is None else torch.full_like(level.counts, level.rows)
            document = documents.repeat_interleave(rows, output_size=level.nodes.shape[0])
            number = torch.arange(document.shape[0], device=tokens.device) - (rows.cumsum(0) - rows)[document]
            slot = document * size + offset[document] + number
            # What is not new goes to a row behind all others, which is cut off.
            slots.append(torch.where(number < new[document], slot, batch * size))
            means.append(level.nodes.sum(1) / level.mask.sum(1, keepdim=True).clamp(min=1))
            offset = offset + new
        nodes = tokens.new_zeros(batch * size + 1, width).index_copy(0, torch.cat(slots), torch.cat(means))
        valid = torch.arange(size, device=tokens.device) < offset[:, None]
        return nodes[:-1].view(batch, size, width), None if mask is None else readable(valid)


@MEMORIES.register("two_level")
class TwoLevelMemory(Memory):
    """The tokens without padding between them, segment after segment, for a reader that chooses segments: M = S·L."""

    def reader(self, num_heads: int, top_k: int) -> CrossAttention:
        """Build the cross-attention that chooses segments by their states."""
        return TwoLevelCrossAttention(self.hidden_size, num_heads, self.segment_length, top_k)

    def forward(
        self, tokens: Float[Tensor, "B N E"], mask: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B M E"], Bool[Tensor, "B M"] | None]:
        """Move the tokens of each document together, and fill its last segment with zeros."""
        batch, longest, _ = tokens.shape
        lengths = torch.full((batch,), longest, device=tokens.device) if mask is None else mask.sum(1)
        if mask is not None:
            if not torch.compiler.is_compiling():
                longest = int(lengths.max())
            order = mask.int().argsort(dim=1, descending=True, stable=True)[:, :longest, None]
            tokens = tokens.gather(1, order.expand(-1, -1, tokens.shape[-1]))
        exported = torch.compiler.is_exporting()  # for any number of tokens
        unit = self.segment_length if exported or longest > self.segment_length else max(1, longest)
        size = (max(1, (longest + unit - 1) // unit) + exported) * unit  # torch must not see a single segment
        if mask is None and not exported and size == longest:
            return tokens, None
        valid = torch.arange(size, device=tokens.device) < lengths[:, None]
        tokens = F.pad(tokens, (0, 0, 0, size - longest)).masked_fill(~valid[..., None], 0)
        return tokens, readable(valid)


def readable(mask: Bool[Tensor, "B M"]) -> Bool[Tensor, "B M"]:
    """Let a document without tokens read its zeros, so that nothing is NaN."""
    return mask | ~mask.any(1, keepdim=True)
