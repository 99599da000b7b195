"""Attention of a document that is read in segments, literally: one document and one query at a time, in float64.

Letters: N tokens, H heads, G heads of keys and values, D head width, R rotated channels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["distances", "reading_attention"]


def distances(
    token: int, *, segment: int, near: int, sink: int, block: int, sliding: int | None = None
) -> dict[int, int]:
    """Return the keys that a token sees, and at which distance each.

    Args:
        token: counted from the document's first token.
        segment: tokens of a segment.
        near: previous segments that are read in full.
        sink: first tokens, which every token reads.
        block: tokens of a block, in which far keys keep their places.
        sliding: tokens of a sliding window, for a layer that has nothing else.
    """
    if sliding is not None:
        return {key: token - key for key in range(max(token - sliding + 1, 0), token + 1)}
    lowest = max((token // segment - near) * segment, 0)
    seen = {key: token - key for key in range(lowest, token + 1)}
    # The far keys stand before the near ones of the block's first token, but never farther than in the document.
    first = token // block * block
    edge = (first // segment - near) * segment
    for key in range(min(sink, lowest)):
        seen[key] = token - max(key, edge - sink + key)
    return seen


def reading_attention(
    q: Float[Tensor, "H N D"],
    k: Float[Tensor, "G N D"],
    v: Float[Tensor, "G N D"],
    frequencies: Float[Tensor, "half"] | None,
    *,
    segment: int,
    near: int,
    sink: int,
    block: int,
    scale: float,
    sliding: int | None = None,
    softcap: float | None = None,
) -> Float[Tensor, "N H D"]:
    """softmax(softcap · tanh(qᵀ R(p' - p) k · scale / softcap)) v for every query, without rotation before.

    Args:
        q: queries.
        k: keys; H / G heads of queries share one.
        v: values.
        frequencies: angles by which a distance of 1 rotates the pairs (i, i + R/2); None without positions.
        segment: see `distances`, as near, sink, block and sliding.
        near: likewise.
        sink: likewise.
        block: likewise.
        scale: factor of the scores.
        sliding: likewise.
        softcap: bound of the scores.
    """
    share = len(q) // len(k)
    rows = []
    for token in range(q.shape[1]):
        seen = distances(token, segment=segment, near=near, sink=sink, block=block, sliding=sliding)
        for head in range(len(q)):
            keys = [_rotated(k[head // share, key], frequencies, -distance) for key, distance in seen.items()]
            scores = torch.stack([q[head, token] @ key * scale for key in keys])
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            rows.append(torch.softmax(scores, 0) @ v[head // share, list(seen)])
    return torch.stack(rows).unflatten(0, (q.shape[1], len(q)))


def _rotated(x: Float[Tensor, "D"], frequencies: Float[Tensor, "half"] | None, position: int) -> Float[Tensor, "D"]:
    """Rotate the pairs (i, i + R/2) of the first R channels."""
    if frequencies is None:
        return x
    half = len(frequencies)
    pairs = torch.complex(x[:half], x[half : 2 * half]) * torch.polar(
        torch.ones_like(frequencies), frequencies * position
    )
    return torch.cat([pairs.real, pairs.imag, x[2 * half :]])
