"""SMI attention as a module: which form the options name, what all forms own, and how they go on from a past.

The equations are in ``simmim.nn.attend``. Letters: B documents, N tokens, S segments, L segment length, H heads, D head
width, E width.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from simmim.errors import ConfigError, ShapeError
from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.cache import SegmentCache
from simmim.nn.registry import Registry
from simmim.nn.states import STATE_POOLINGS, STATE_REACHES, AllStates
from simmim.ops.layout import SegmentLayout, check_tokens
from simmim.ops.options import AttentionOptions, segment_origin
from simmim.ops.segments import check_attention_mask
from simmim.ops.smi import Null
from simmim.ops.steps import StepLayout

__all__ = ["STATE_READS", "Attended", "Pooled", "SMIAttention", "TokenKeys"]

TokenKeys = tuple[Float[Tensor, "S L H D"], Float[Tensor, "S L H D"]]
Pooled = tuple[Float[Tensor, "S E"], Float[Tensor, " S"]]
Attended = tuple[Float[Tensor, "S L E"], SegmentCache | None]

STATE_READS: Registry[SMIAttention] = Registry("state_read")


class SMIAttention(AllStates):
    """Multi-head attention inside segments of L tokens, with one state a segment for everything farther away.

    Any number of tokens works, and a document of at most L tokens gets ordinary attention. Time and memory grow as
    N·L + N·S (``attend``) or N·L + S² (broadcasts), and with ``state_reach="pyramid"`` as N·(L + log S).

    What is built is the class that ``state_read`` and ``state_reach`` name, which are registries: that of
    ``simmim.nn.attend``, one of ``simmim.nn.variants``, or your own. The source's literal form (§3.1, §4.1) is
    ``state_read="broadcast"``, ``state_pooling="first"``, ``neighbours=0``, ``partial_rotary_factor=1.0``.

    Args:
        hidden_size: E.
        num_heads: H.
        segment_length: L.
        **options: the others of ``simmim.ops.options.AttentionOptions``, by name.

    Raises:
        ConfigError: an option has an unknown value, or options do not go together.
    """

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    o_proj: nn.Linear

    def __new__(cls, *args: Any, state_read: str = "attend", state_reach: str = "all", **options: Any) -> SMIAttention:
        """Make an object of the class that the options name."""
        chosen = _combine(STATE_REACHES.find(state_reach), STATE_READS.find(state_read)) if cls is SMIAttention else cls
        made: SMIAttention = super().__new__(chosen)
        return made

    def __init__(self, hidden_size: int, num_heads: int, segment_length: int, **options: Any) -> None:
        super().__init__()
        self.options = AttentionOptions(hidden_size, num_heads, segment_length, **options)
        self.hidden_size, self.head_dim, self.causal = hidden_size, self.options.head_dim, self.options.causal
        self.origin = segment_origin(segment_length, self.options.segment_shift)
        self.trained_states = self.options.trained_states
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(hidden_size, hidden_size, bias=False))
        reads = self.options.reads_states
        if reads:
            self.build_read()
            self.build_reach()
        pooling = STATE_POOLINGS.find(self.options.state_pooling)
        if self.causal and reads and not pooling.causal:
            allowed = ", ".join(sorted(name for name, cls in STATE_POOLINGS.items() if cls.causal))
            raise ConfigError(
                f"state_pooling: a causal segment's state must tell of its end: expected one of {allowed}; "
                f"got {self.options.state_pooling!r}"
            )
        self.state_pooling = pooling(hidden_size)
        self.state_null = nn.Parameter(torch.zeros(hidden_size)) if self.options.state_null and reads else None

    @classmethod
    def of(cls, options: AttentionOptions) -> SMIAttention:
        """Build the attention of these options."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(options) if field.init})

    def build_read(self) -> None:
        """Add the parameters that this read of states needs."""
        raise TypeError(f"{type(self).__name__} must define build_read")

    def attend_segments(
        self,
        x: Float[Tensor, "S L E"],
        layout: SegmentLayout,
        *,
        past: SegmentCache | None = None,
        use_cache: bool = False,
        maps: AttentionMaps | None = None,
    ) -> Attended:
        """Attend on whole segments; return the output and, if asked for, the cache to go on from.

        With a past, which has made the layout, its tokens are in slots before the new ones: as keys, not as queries.
        """
        raise TypeError(f"{type(self).__name__} must define attend_segments")

    def attend_token(
        self, x: Float[Tensor, "B E"], cache: SegmentCache, layout: StepLayout, maps: AttentionMaps | None
    ) -> Float[Tensor, "B E"]:
        """Attend with the next token of each document, and write it into the cache where it is real."""
        raise TypeError(f"{type(self).__name__} must define attend_token")

    def layout(self, batch: int, tokens: int, attention_mask: Tensor | None, device: torch.device) -> SegmentLayout:
        """Lay out a batch for this layer; layers of the same length and shift can share what this returns."""
        mask = None if attention_mask is None else check_attention_mask(attention_mask, batch, tokens)
        return SegmentLayout.build(
            batch,
            tokens,
            self.options.segment_length,
            attention_mask=mask,
            segment_shift=self.options.segment_shift,
            causal=self.options.causal,
            device=device,
        )

    def prefill(
        self,
        hidden_states: Float[Tensor, "B N E"],
        attention_mask: Shaped[Tensor, "B N"] | None = None,
        *,
        layout: SegmentLayout | None = None,
        maps: AttentionMaps | None = None,
    ) -> tuple[Float[Tensor, "B N E"], SegmentCache]:
        """Attend as ``forward`` does, and return the cache from which ``step`` goes on (causal only)."""
        if not self.options.causal:
            raise ConfigError("prefill: expected a causal layer, got a bidirectional one; build it with causal=True")
        check_tokens(hidden_states, self.hidden_size, layout)
        if layout is None:
            layout = self.layout(len(hidden_states), hidden_states.shape[1], attention_mask, hidden_states.device)
        out, cache = self.attend_segments(layout.to_segments(hidden_states), layout, use_cache=True, maps=maps)
        assert cache is not None
        return layout.to_tokens(out), cache

    def extend(
        self,
        hidden_states: Float[Tensor, "B N E"],
        attention_mask: Shaped[Tensor, "B N"] | None = None,
        *,
        layout: SegmentLayout | StepLayout | None = None,
        past: SegmentCache | None = None,
        maps: AttentionMaps | None = None,
    ) -> tuple[Float[Tensor, "B N E"], SegmentCache]:
        """Attend with the next N tokens of each document, all at once.

        Args:
            hidden_states: ``[B, N, E]``.
            attention_mask: ``[B, N]``, 1 for tokens and 0 for padding, whose output is zero.
            layout: what ``past.layout`` or, without a past, ``layout`` returned for these tokens.
            past: what came before.
            maps: gets the attention weights; with a past, tokens then go one after the other, and only the maps of the
                last are kept.

        Returns:
            ``[B, N, E]``, and the cache to go on from, instead of the past.
        """
        if past is None or not past.seen:
            assert not isinstance(layout, StepLayout)
            return self.prefill(hidden_states, attention_mask, layout=layout, maps=maps)
        batch, tokens, _ = hidden_states.shape
        mask = None if attention_mask is None else check_attention_mask(attention_mask, batch, tokens)
        if tokens < 2 or maps is not None:
            steps = [
                self.step(
                    hidden_states[:, t : t + 1],
                    past,
                    None if mask is None else mask[:, t : t + 1],
                    layout=layout if isinstance(layout, StepLayout) else None,
                    maps=maps,
                )
                for t in range(tokens)
            ]
            return (steps[0] if tokens == 1 else torch.cat([hidden_states[:, :0], *steps], dim=1)), past
        if layout is None:
            past.check_batch(batch)
            layout = past.layout(tokens, mask)
        assert isinstance(layout, SegmentLayout)
        check_tokens(hidden_states, self.hidden_size, layout)
        out, cache = self.attend_segments(layout.to_segments(hidden_states), layout, past=past, use_cache=True)
        assert cache is not None
        cache.seen, cache.intact = cache.seen + past.seen, past.intact
        return layout.to_tokens(out), cache

    def step(
        self,
        hidden_states: Float[Tensor, "B 1 E"],
        cache: SegmentCache,
        attention_mask: Shaped[Tensor, "B 1"] | None = None,
        *,
        layout: StepLayout | None = None,
        maps: AttentionMaps | None = None,
    ) -> Float[Tensor, "B 1 E"]:
        """Attend with the next token of each document and write it into the cache.

        A document whose mask is 0 gets no token: its output is zero and its past stays as it is.

        Args:
            hidden_states: ``[B, 1, E]``.
            cache: what came before.
            attention_mask: ``[B, 1]``, 1 for tokens and 0 for none; None if all are tokens.
            layout: what ``cache.layout`` returned for these tokens, instead of a mask; layers can share it.
            maps: gets the attention weights.
        """
        batch = hidden_states.shape[0]
        if hidden_states.shape[1] != 1:
            raise ShapeError(
                f"hidden_states: expected [batch, 1, {self.options.hidden_size}], one token for each document; "
                f"got {list(hidden_states.shape)}"
            )
        cache.check_batch(batch)
        if layout is None:
            made = cache.layout(1, None if attention_mask is None else check_attention_mask(attention_mask, batch, 1))
            assert isinstance(made, StepLayout)
            layout = made
        # Padding may hold anything, and must not reach the cache's sums.
        token = layout.real.only(hidden_states.squeeze(1))
        out = self.attend_token(token, cache, layout, maps)
        cache.position = layout.following
        cache.seen += 1
        return layout.real.only(out).unsqueeze(1)

    def null_slot(self, numbers: Shaped[Tensor, " S"]) -> Null | None:
        """Return the key and value of the null slot for readers at these numbers, or None if there is none."""
        if self.state_null is None:
            return None
        return self.project_states(self.state_null.expand(numbers.shape[0], -1), numbers)

    def cache_of(self, layout: SegmentLayout, keys: TokenKeys) -> SegmentCache:
        """Return a cache that holds the window of every document."""
        length, neighbours = self.options.segment_length, self.options.neighbours
        return SegmentCache.from_segments(
            layout, *keys, segment_length=length, neighbours=neighbours, origin=self.origin
        )

    def extra_repr(self) -> str:
        """Name the options in the module's printed form."""
        shown = ("segment_length", "causal", "state_read", "neighbours", "segment_shift", "state_reach")
        return ", ".join(f"{name}={getattr(self.options, name)}" for name in shown)


def _combine(reach: type[AllStates], read: type[SMIAttention]) -> type[SMIAttention]:
    """Return the class that reads states as one class says, within the reach that the other says."""
    if issubclass(read, reach):
        return read
    named = (form for form in read.__subclasses__() if form.__bases__ == (reach, read))
    return next(named, None) or type(f"{reach.__name__}{read.__name__}", (reach, read), {})
