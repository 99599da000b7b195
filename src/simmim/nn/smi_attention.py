"""SMI attention as a module: tokens of a segment attend to each other, and hear of the rest through segment states."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from simmim.errors import ConfigError, ShapeError
from simmim.nn.aggregators import Aggregator
from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.chunks import by_rows
from simmim.nn.norm import RMSNorm
from simmim.nn.rotary import Turn, few_turn, rotary_turn, rotate, rotate_few
from simmim.nn.segment_cache import SegmentCache
from simmim.nn.state_pooling import STATE_POOLINGS
from simmim.nn.state_reach import STATE_REACHES
from simmim.nn.state_read import STATE_READS, StateFFN
from simmim.ops.gathered import parts
from simmim.ops.reach import Reach, share_of
from simmim.ops.segments import SegmentLayout, check_attention_mask, segment_origin
from simmim.ops.smi import Null, States, segment_attention
from simmim.ops.steps import StepLayout

__all__ = ["STATE_WEIGHTS", "SMIAttention"]

STATE_WEIGHTS = ("each", "shared")
"""What states weigh beside tokens (``state_weight``): each as much as a token, or all that one token reads together."""


class SMIAttention(nn.Module):
    """Multi-head attention inside segments of L tokens, with one state a segment for everything farther away.

    X_i = X̂_i + FFN(s̃_i) in the literal form (source §3.1, §4.1: ``state_read="broadcast"``, ``state_pooling="first"``,
    ``neighbours=0``); ``docs/design.md`` has the other options. Any number of tokens works, and a document of at most
    L tokens gets ordinary attention. Time and memory grow as N·L + N·S (``attend``) or N·L + S² (broadcasts), and with
    ``state_reach="pyramid"`` as N·(L + log S).

    Args:
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
            as documents get longer; each head then learns how much sharper it looks where it reads more of them.
        trained_states: the most states that a token has read in training: where there are more, all together weigh as
            much as so many (``attend`` only, decision 0012). None: each weighs as much as a token, however many.
        tie_state_projections: keys and values of states come from ``k_proj`` and ``v_proj``, as those of tokens do
            (``attend`` only, decision 0013); else from ``state_k_proj`` and ``state_v_proj``.
        rotary: rotary positions for tokens and states.
        rope_theta: base of the rotary frequencies.
        partial_rotary_factor: share of the channel pairs that turn with the position, the fastest. In ``attend`` states
            are found by the others, wherever they stand (decision 0008); if it is 1, states turn, too.

    Raises:
        ConfigError: an option has an unknown value, or options do not go together.
    """

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    o_proj: nn.Linear
    state_q_proj: nn.Linear
    state_k_proj: nn.Linear
    state_v_proj: nn.Linear
    state_ffn: StateFFN
    state_gate: nn.Parameter
    state_aggregator: Aggregator
    state_norm: RMSNorm
    sharpness: nn.Parameter

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        segment_length: int,
        *,
        causal: bool = False,
        state_pooling: str = "mean",
        state_read: str = "attend",
        state_null: bool = False,
        neighbours: int = 1,
        segment_shift: int = 0,
        state_reach: str = "all",
        aggregator: str = "concat",
        state_weight: str = "each",
        trained_states: int | None = None,
        tie_state_projections: bool = True,
        rotary: bool = True,
        rope_theta: float = 10_000.0,
        partial_rotary_factor: float = 0.5,
    ) -> None:
        super().__init__()
        if num_heads < 1 or hidden_size % num_heads:
            raise ConfigError(f"hidden_size: expected a multiple of num_heads ({num_heads}), got {hidden_size}")
        if rotary and hidden_size // num_heads % 2:
            raise ConfigError(
                f"head width (hidden_size / num_heads): expected an even number for rotary positions, "
                f"got {hidden_size // num_heads}; change num_heads or set rotary=False"
            )
        if neighbours not in (0, 1):
            raise ConfigError(
                f"neighbours: expected 0 or 1, got {neighbours!r}; a longer segment_length reaches further"
            )
        if state_weight not in STATE_WEIGHTS:
            raise ConfigError(f"state_weight: expected one of {', '.join(STATE_WEIGHTS)}; got {state_weight!r}")
        if trained_states is not None and trained_states < 1:
            raise ConfigError(f"trained_states: expected a number of 1 or more, or None; got {trained_states!r}")
        if not 0 <= partial_rotary_factor <= 1:
            raise ConfigError(f"partial_rotary_factor: expected a number from 0 to 1, got {partial_rotary_factor!r}")
        self.hidden_size, self.num_heads, self.segment_length = hidden_size, num_heads, segment_length
        self.head_dim = hidden_size // num_heads
        self.state_weight, self.trained_states = state_weight, trained_states
        self.tie_state_projections = tie_state_projections
        self.turned_pairs = math.ceil(self.head_dim // 2 * partial_rotary_factor) if rotary else 0
        self.causal, self.neighbours, self.segment_shift = causal, neighbours, segment_shift
        self.rope_theta = rope_theta
        self.origin = segment_origin(segment_length, segment_shift)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(hidden_size, hidden_size, bias=False))
        self.state_read = STATE_READS.find(state_read)()
        self.state_read.build(self)
        self.state_reach = STATE_REACHES.find(state_reach)()
        if self.state_read.reads_states:
            self.state_reach.build(self, aggregator)
        pooling = STATE_POOLINGS.find(state_pooling)
        if causal and self.state_read.reads_states and not pooling.causal:
            allowed = ", ".join(sorted(name for name, cls in STATE_POOLINGS.items() if cls.causal))
            raise ConfigError(
                f"state_pooling: a causal segment's state must tell of its end: expected one of {allowed}; "
                f"got {state_pooling!r}"
            )
        self.state_pooling = pooling(hidden_size)
        with_null = state_null and self.state_read.reads_states
        self.state_null = nn.Parameter(torch.zeros(hidden_size)) if with_null else None

    def layout(self, batch: int, tokens: int, attention_mask: Tensor | None, device: torch.device) -> SegmentLayout:
        """Lay out a batch for this layer; layers of the same length and shift can share what this returns."""
        mask = None if attention_mask is None else check_attention_mask(attention_mask, batch, tokens)
        return SegmentLayout.build(
            batch,
            tokens,
            self.segment_length,
            attention_mask=mask,
            segment_shift=self.segment_shift,
            causal=self.causal,
            device=device,
        )

    def forward(
        self,
        hidden_states: Float[Tensor, "B N E"],
        attention_mask: Shaped[Tensor, "B N"] | None = None,
        *,
        layout: SegmentLayout | StepLayout | None = None,
        past: SegmentCache | None = None,
        use_cache: bool = False,
        maps: AttentionMaps | None = None,
    ) -> Float[Tensor, "B N E"] | tuple[Float[Tensor, "B N E"], SegmentCache]:
        """Attend.

        Args:
            hidden_states: ``[B, N, E]``.
            attention_mask: ``[B, N]``, 1 for tokens and 0 for padding, wherever it stands; None if all are tokens.
            layout: what ``layout()`` or ``SegmentLayout.packed`` returned for this batch, instead of a mask.
            past: what came before these tokens (causal only).
            use_cache: return a cache, too.
            maps: gets the attention weights, which are made only then: N·K numbers a head.

        Returns:
            ``[B, N, E]``, zero at padding; after a past, or with ``use_cache``, what ``extend`` returns.

        Raises:
            ShapeError: a shape is not as above.
        """
        if use_cache or past is not None:
            return self.extend(hidden_states, attention_mask, layout=layout, past=past, maps=maps)
        assert not isinstance(layout, StepLayout)
        return self._parallel(hidden_states, attention_mask, layout, maps, use_cache=False)[0]

    def prefill(
        self,
        hidden_states: Float[Tensor, "B N E"],
        attention_mask: Shaped[Tensor, "B N"] | None = None,
        *,
        layout: SegmentLayout | None = None,
        maps: AttentionMaps | None = None,
    ) -> tuple[Float[Tensor, "B N E"], SegmentCache]:
        """Attend as ``forward`` does, and return the cache from which ``step`` goes on (causal only)."""
        if not self.causal:
            raise ConfigError("prefill: expected a causal layer, got a bidirectional one; build it with causal=True")
        out, cache = self._parallel(hidden_states, attention_mask, layout, maps, use_cache=True)
        assert cache is not None
        return out, cache

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
            ``[B, N, E]``, and the cache to go on from, in the place of the past.
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
        out, cache = self._parallel(hidden_states, None, layout, None, use_cache=True, past=past)
        assert cache is not None
        cache.seen, cache.intact = cache.seen + past.seen, past.intact
        return out, cache

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
                f"hidden_states: expected [batch, 1, {self.hidden_size}], one token for each document; "
                f"got {list(hidden_states.shape)}"
            )
        cache.check_batch(batch)
        if layout is None:
            made = cache.layout(1, None if attention_mask is None else check_attention_mask(attention_mask, batch, 1))
            assert isinstance(made, StepLayout)
            layout = made
        # Padding may hold anything, and must not reach the cache's sums.
        token = layout.real.only(hidden_states.squeeze(1))
        out = self.state_read.step(self, token, cache, layout, maps)
        cache.position = layout.following
        cache.seen += 1
        return layout.real.only(out).unsqueeze(1)

    def _parallel(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        layout: SegmentLayout | None,
        maps: AttentionMaps | None,
        *,
        use_cache: bool,
        past: SegmentCache | None = None,
    ) -> tuple[Tensor, SegmentCache | None]:
        if hidden_states.dim() != 3 or hidden_states.shape[-1] != self.hidden_size:
            raise ShapeError(
                f"hidden_states: expected [batch, tokens, {self.hidden_size}], got {list(hidden_states.shape)}"
            )
        batch, tokens, _ = hidden_states.shape
        if layout is None:
            layout = self.layout(batch, tokens, attention_mask, hidden_states.device)
        elif (layout.batch, layout.tokens) != (batch, tokens):
            raise ShapeError(
                f"layout: expected one for [{batch}, {tokens}] tokens, got one for [{layout.batch}, {layout.tokens}]"
            )
        if not layout.segments and not use_cache:
            return torch.zeros_like(hidden_states), None
        out, cache = self.state_read.forward(self, layout.to_segments(hidden_states), layout, use_cache, maps, past)
        return layout.to_tokens(out), cache

    def split(self, x: Float[Tensor, "*T _"], parts: int = 1) -> Float[Tensor, "*T _ D"]:
        """Cut the channels of one or more parts into heads."""
        heads = parts * self.num_heads
        return x.view(*x.shape[:-1], heads, x.shape[-1] // heads)

    def turn(self, positions: Shaped[Tensor, "*T"], dtype: torch.dtype) -> Turn | None:
        """Return what ``rotate`` turns heads at these positions by: None if this layer has no rotary positions."""
        if not self.turned_pairs:
            return None
        return rotary_turn(positions, self.head_dim, self.rope_theta, dtype, pairs=self.turned_pairs)

    def turn_of(self, layout: SegmentLayout, dtype: torch.dtype) -> Turn | None:
        """Return the turn of every slot; layers that share a layout share it too."""
        turn: Turn | None = layout.memo(self._turn_key(dtype), lambda: self.turn(layout.positions, dtype))
        return turn

    def _turn_key(self, dtype: torch.dtype) -> tuple[object, ...]:
        return ("turn", self.turned_pairs, self.head_dim, self.rope_theta, dtype)

    def project_token(
        self, x: Float[Tensor, "B E"], layout: StepLayout
    ) -> tuple[Float[Tensor, "B H D"], Float[Tensor, "B H D"], Float[Tensor, "B H D"]]:
        """Return the query, key and value of the next token of each document."""
        both = self.split(torch.cat((self.q_proj(x), self.k_proj(x)), dim=-1), 2)
        if self.turned_pairs:
            settings = (self.head_dim, self.rope_theta, x.dtype, self.turned_pairs)
            both = rotate_few(both, layout.memo(settings, lambda: few_turn(layout.told, *settings)))
        q, k = both.chunk(2, dim=1)
        return q, k, self.split(self.v_proj(x))

    def pool(
        self, x: Float[Tensor, "S L E"], layout: SegmentLayout, past: SegmentCache | None
    ) -> tuple[Float[Tensor, "S E"], Float[Tensor, " S"]]:
        """Return the states of segments, and their weights; that of the segment under way goes on from the past."""
        pooled: tuple[Tensor, Tensor] = self.state_pooling(x, layout.mask)
        return pooled if past is None else past.pool(self.state_pooling, layout, pooled)

    def project_keys(
        self, x: Float[Tensor, "S L E"], layout: SegmentLayout, past: SegmentCache | None = None
    ) -> tuple[Float[Tensor, "S L H D"], Float[Tensor, "S L H D"]]:
        """Return the keys and values of tokens, and of those of the past that they read."""
        turn = self.turn_of(layout, x.dtype)
        keys = by_rows(
            lambda part, *turned: rotate(self.split(self.k_proj(part)), turned or None),
            *(x, *(turn or ())),
            width=4 * x.shape[1:].numel(),
        )
        projected = keys, self.split(self.v_proj(x))
        return projected if past is None else past.put_before(layout, projected)

    def read(
        self,
        x: Float[Tensor, "S L E"],
        keys: tuple[Float[Tensor, "S L H D"], Float[Tensor, "S L H D"]],
        layout: SegmentLayout,
        *,
        reach: Reach | None = None,
        states: States | None = None,
        null: Null | None = None,
        maps: AttentionMaps | None = None,
    ) -> Float[Tensor, "S L E"]:
        """Let tokens ask for what ``segment_attention`` puts before them, and project what they read."""
        see = None if maps is None else maps.of_segments(layout, causal=self.causal, neighbours=self.neighbours)
        turn = self.turn_of(layout, x.dtype)
        seen = (1 + (1 if self.causal else 2) * self.neighbours) * layout.segment_length
        seen += 0 if reach is None else reach.mask.shape[1]
        arranged = None
        if reach is not None and states is not None:
            arranged = reach.arrange(states[0]), reach.arrange(states[1])
        share = None if reach is None else self.share(reach.mask, x.dtype)
        sharing = reach.count if reach is not None and self.state_weight == "shared" else None
        out = None
        for rows in (
            parts(layout.segments, 2 * seen * self.hidden_size) if maps is None else [slice(0, layout.segments)]
        ):
            q = rotate(self.split(self.q_proj(x[rows])), None if turn is None else (turn[0][rows], turn[1][rows]))
            if sharing is not None:
                q = self.sharpen(q, sharing[rows, None])
            attended = segment_attention(
                q,
                *keys,
                layout,
                rows=rows,
                causal=self.causal,
                neighbours=self.neighbours,
                reach=reach,
                states=arranged,
                share=None if share is None else share[rows],
                null=null,
                see=see,
            )
            part: Tensor = self.o_proj(attended.flatten(-2))
            if part.shape[0] == layout.segments:
                return part
            out = torch.empty_like(x) if out is None else out
            out[rows] = part
        return torch.zeros_like(x) if out is None else out

    @property
    def most_weight(self) -> int | None:
        """As how many keys the states that a token reads weigh at most; None for no limit."""
        return 1 if self.state_weight == "shared" else self.trained_states

    def share(self, read: Bool[Tensor, "S C"], dtype: torch.dtype) -> Float[Tensor, " S"] | None:
        """Return what the scores of states get where tokens read these; None for nothing."""
        most = self.most_weight
        if most is None or (not torch.compiler.is_exporting() and read.shape[1] <= most):
            return None
        return share_of(read.sum(1), most, dtype)

    def sharpen(self, q: Float[Tensor, "*T H D"], states: Shaped[Tensor, "*#T"]) -> Float[Tensor, "*T H D"]:
        """Multiply the queries of tokens that read so many states by 1 + s log(1 + n), s one learned number a head.

        What is looked for then stands out from n as it does from few (log n scaling: Nakanishi, arXiv 2501.19399).
        """
        dtype = torch.promote_types(q.dtype, torch.float32)
        factor = 1 + self.sharpness.to(dtype) * states.to(dtype).log1p()[..., None]
        return q * factor.to(q.dtype)[..., None]

    def cache_of(
        self, layout: SegmentLayout, keys: tuple[Float[Tensor, "S L H D"], Float[Tensor, "S L H D"]]
    ) -> SegmentCache:
        """Return a cache that holds the window of every document."""
        return SegmentCache.from_segments(
            layout, *keys, segment_length=self.segment_length, neighbours=self.neighbours, origin=self.origin
        )

    def state_queries(self, states: Float[Tensor, "*S E"], numbers: Shaped[Tensor, "*S"]) -> Float[Tensor, "*S H D"]:
        """Return the queries of states that stand at these numbers."""
        queries = self.split(self.state_q_proj(states))
        return rotate(queries, self.turn(numbers, queries.dtype))

    def project_states(
        self, states: Float[Tensor, "*S E"], numbers: Shaped[Tensor, "*S"]
    ) -> tuple[Float[Tensor, "*S H D"], Float[Tensor, "*S H D"]]:
        """Return the keys and values of states that stand at these numbers."""
        keys, values = self.state_read.project(self, states)
        return self.state_read.placed(self, self.split(keys), numbers), self.split(values)

    def null_slot(self, numbers: Shaped[Tensor, " S"]) -> tuple[Float[Tensor, "S H D"], Float[Tensor, "S H D"]] | None:
        """Return the key and value of the null slot for readers at these numbers, or None if there is none."""
        if self.state_null is None:
            return None
        return self.project_states(self.state_null.expand(numbers.shape[0], -1), numbers)

    def extra_repr(self) -> str:
        """Name the options in the module's printed form."""
        read = next(name for name, cls in STATE_READS.items() if type(self.state_read) is cls)
        reach = next(name for name, cls in STATE_REACHES.items() if type(self.state_reach) is cls)
        return (
            f"segment_length={self.segment_length}, causal={self.causal}, state_read={read}, "
            f"neighbours={self.neighbours}, segment_shift={self.segment_shift}, state_reach={reach}"
        )
