"""States what one attention layer costs (docs/design.md §2.2), form by form, for the scaling benchmark to compare.

Floating-point operations of the forward pass of one document: a multiplication and its addition count as two, so that
a linear map E -> F of one vector is 2EF. What is no matrix product (softmax, norms, rotary positions) is not counted.

Letters: N tokens, L segment length, S = N/L segments (whole ones, two or more), E width.
"""

from __future__ import annotations

from collections.abc import Callable

from simmim.ops.ngrams import BUCKETS, KEPT, LONGEST

__all__ = ["FORMULAS", "cache_numbers", "default_flops", "full_flops", "literal_flops", "pyramid_flops", "table_bytes"]


def _projections(tokens: int, width: int) -> int:
    """Return 8NE²: q_proj, k_proj, v_proj and o_proj of every token."""
    return 8 * tokens * width**2


def _reading(readers: int, keys: int, width: int) -> int:
    """Return 4RKE: every reader multiplies its query with K keys (2E each), and adds K weighted values (2E each)."""
    return 4 * readers * keys * width


def full_flops(tokens: int, segment_length: int, width: int) -> int:
    """Return 8NE² + 4N²E: every token reads every token. L plays no part."""
    return _projections(tokens, width) + _reading(tokens, tokens, width)


def literal_flops(tokens: int, segment_length: int, width: int) -> int:
    """Return what the literal form costs, which is S² in the end.

    ::

        8 N E²      q_proj, k_proj, v_proj, o_proj
        4 N E L     tokens read the L of their segment
        6 S E²      state_q_proj, state_k_proj, state_v_proj
        4 S² E      states read each other: the own one is computed too, and masked
        16 S E²     state_ffn: E -> 4E -> E
    """
    segments = tokens // segment_length
    own = _projections(tokens, width) + _reading(tokens, segment_length, width)
    return own + 22 * segments * width**2 + _reading(segments, segments, width)


def default_flops(tokens: int, segment_length: int, width: int) -> int:
    """Return what the default form costs, which is N·S = N²/L in the end.

    ::

        8 N E²           q_proj, k_proj, v_proj, o_proj
        4 N E (3L + S)   tokens read three segments and all states, the own one masked
        4 S E²           k_proj, v_proj of the states
    """
    segments = tokens // segment_length
    keys = 3 * segment_length + segments
    return _projections(tokens, width) + _reading(tokens, keys, width) + 4 * segments * width**2


def pyramid_flops(tokens: int, segment_length: int, width: int) -> int:
    """Return what the default form costs with ``state_reach="pyramid"``, which is N·log S in the end.

    With P = ceil(log2 S) levels above the states, and M nodes of all levels together (2S - 1 if S is a power of two)::

        8 N E²           q_proj, k_proj, v_proj, o_proj
        4 N E (3L + P)   tokens read three segments and a node of each level but the top, masked where there is none
        4 M E²           k_proj, v_proj of every node
        4 (M - S) E²     concat, 2E -> E, of every node above the states; one without a partner is computed too
    """
    segments = tokens // segment_length
    levels = (segments - 1).bit_length()
    nodes = sum(-(-segments // 2**level) for level in range(levels + 1))
    keys = 3 * segment_length + levels
    made = 4 * nodes * width**2 + 4 * (nodes - segments) * width**2
    return _projections(tokens, width) + _reading(tokens, keys, width) + made


FORMULAS: dict[str, Callable[[int, int, int], int]] = {
    "full": full_flops,
    "all": default_flops,
    "literal": literal_flops,
    "pyramid": pyramid_flops,
}
"""By form: tokens, segment length and width to operations."""


def table_bytes() -> int:
    """Return the bytes of the table that a copy head reads: 8 O M K of a document, at any length (``ops.ngrams``)."""
    return 8 * LONGEST * (BUCKETS + 1) * KEPT


def cache_numbers(reach: str, tokens: int, segment_length: int, width: int) -> int:
    """Return how many floating-point numbers a causal layer of the default form keeps while it decodes (§2.3).

    ::

        4 L E                    keys and values of the last 2L tokens
        2 S E                    reach all: keys and values of the states of S finished segments
        3 (⌊log₂ S⌋ + 1) E       reach pyramid: a node a level, its key and its value
        E + 1                    the state under way, and its weight

    Args:
        reach: ``all`` or ``pyramid``.
        tokens: N, 2L or more.
        segment_length: L.
        width: E.
    """
    finished = tokens // segment_length
    states = 2 * finished if reach == "all" else 3 * finished.bit_length()
    return (4 * segment_length + states + 1) * width + 1
