"""The options of SMI attention: one object for the layer, the reference and the models' configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from simmim.errors import ConfigError

__all__ = ["STATE_WEIGHTS", "AttentionOptions", "segment_origin"]

STATE_WEIGHTS = ("each", "shared")
"""What states weigh beside tokens (``state_weight``): each as much as a token, or all that one token reads together."""


def segment_origin(segment_length: int, segment_shift: int) -> int:
    """Return the position of a document's first token: later borders then fall on multiples of the segment length."""
    if segment_length < 1:
        raise ConfigError(f"segment_length: expected a whole number of 1 or more, got {segment_length}")
    if not 0 <= segment_shift < segment_length:
        raise ConfigError(
            f"segment_shift: expected 0 <= shift < segment_length ({segment_length}), got {segment_shift}; "
            "the usual choices are 0 and half a segment"
        )
    return (segment_length - segment_shift) % segment_length


@dataclass(frozen=True)
class AttentionOptions:
    """Hold and check the options of SMI attention. The defaults are the default form (``docs/design.md``, 2.2).

    Attributes:
        hidden_size: E.
        num_heads: H; E must be a multiple of it, and the head width even if ``rotary``.
        segment_length: L.
        causal: tokens read nothing that comes after them.
        state_pooling: what makes a segment's state: ``first``, ``last``, ``mean``, ``attention``. Causal layers cannot
            take ``first``, which has seen nothing of its segment.
        state_read: how states reach tokens: ``broadcast``, ``gated_broadcast``, ``attend``, ``none``.
        state_null: add a learned slot that a reader of states may choose instead of them.
        neighbours: whole segments before the own one (bidirectional: and after it) that tokens read in full.
        segment_shift: move the borders so that the first segment holds this many tokens.
        state_reach: which states are read: ``all``, or ``pyramid``, the O(log S) nodes that cover the rest.
        aggregator: what merges two nodes of a pyramid of states.
        state_weight: what the states that a token reads weigh beside the tokens (``attend`` only): ``each`` as much as
            a token, or ``shared``: all together as much as one, so that far context does not crowd out the near one
            as documents get longer; each head then learns how much to scale its logits where it reads more of them.
        trained_states: the most states that a token has read in training: where there are more, all together weigh as
            much as so many (``attend`` only, decision 0012). None: each weighs as much as a token, however many.
        tie_state_projections: keys and values of states come from ``k_proj`` and ``v_proj``, as those of tokens do
            (``attend`` only, decision 0013); else from ``state_k_proj`` and ``state_v_proj``.
        rotary: rotary positions for tokens and states.
        rope_theta: base of the rotary frequencies.
        partial_rotary_factor: share of the channel pairs that are rotated, the fastest. In ``attend`` states are found
            by the others, wherever they are (decision 0008); if it is 1, states are rotated, too.
        head_dim: D, which follows from the others, as the next two do.
        rotary_pairs: channel pairs of a head that are rotated, of its D/2; 0 without rotary positions.
        reads_states: whether there are states at all.

    Raises:
        ConfigError: an option has an unknown value, or options do not go together. Names that registries know
            (``state_read``, ``state_pooling``, ``state_reach``, ``aggregator``) are checked by the layer.
    """

    hidden_size: int
    num_heads: int
    segment_length: int
    causal: bool = False
    state_pooling: str = "mean"
    state_read: str = "attend"
    state_null: bool = False
    neighbours: int = 1
    segment_shift: int = 0
    state_reach: str = "all"
    aggregator: str = "concat"
    state_weight: str = "each"
    trained_states: int | None = None
    tie_state_projections: bool = True
    rotary: bool = True
    rope_theta: float = 10_000.0
    partial_rotary_factor: float = 0.5
    head_dim: int = field(init=False)
    rotary_pairs: int = field(init=False)
    reads_states: bool = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what no layer can be built from."""
        heads, factor = self.num_heads, self.partial_rotary_factor
        if heads < 1 or self.hidden_size % heads:
            raise ConfigError(f"hidden_size: expected a multiple of num_heads ({heads}), got {self.hidden_size}")
        width = self.hidden_size // heads
        object.__setattr__(self, "head_dim", width)
        object.__setattr__(self, "reads_states", self.state_read != "none")
        if self.rotary and width % 2:
            raise ConfigError(
                f"head width (hidden_size / num_heads): expected an even number for rotary positions, "
                f"got {width}; change num_heads or set rotary=False"
            )
        if self.neighbours not in (0, 1):
            raise ConfigError(
                f"neighbours: expected 0 or 1, got {self.neighbours!r}; a longer segment_length reaches further"
            )
        if self.state_weight not in STATE_WEIGHTS:
            raise ConfigError(f"state_weight: expected one of {', '.join(STATE_WEIGHTS)}; got {self.state_weight!r}")
        if self.trained_states is not None and self.trained_states < 1:
            raise ConfigError(f"trained_states: expected a number of 1 or more, or None; got {self.trained_states!r}")
        if not 0 <= factor <= 1:
            raise ConfigError(f"partial_rotary_factor: expected a number from 0 to 1, got {factor!r}")
        object.__setattr__(self, "rotary_pairs", math.ceil(width // 2 * factor) if self.rotary else 0)
        segment_origin(self.segment_length, self.segment_shift)
