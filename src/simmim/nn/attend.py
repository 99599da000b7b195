"""The default form of SMI attention: a token attends, in one softmax, to tokens near by and to states of all else.

    X_i = softmax(Q_i K'_iᵀ / √D) V'_i W_o        for segment i
    Q_i        queries of the tokens of segment i
    K'_i, V'_i keys and values of the tokens of segments i-1, i and i+1, and of one state s_j for every segment j ≠ i
    s_j        the mean of the tokens of segment j

Causal: of the tokens up to the own one, of segments i-1 and i, and of the states j < i. ``state_read="none"`` is the
same without states. Letters and coordinates are those of ``simmim.ops.layout``; R(u) rotates by position u.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.cache import SegmentCache
from simmim.nn.recomputing import recomputed
from simmim.nn.rotary import Rotary, rotary_of, rotate, slot_rotary
from simmim.nn.smi_attention import STATE_READS, Attended, Pooled, TokenKeys
from simmim.nn.states import StateKeys
from simmim.nn.step import TokenAttention
from simmim.nn.tokenwise import chunked
from simmim.ops.attention import chunks
from simmim.ops.layout import Reach, SegmentLayout, check_tokens
from simmim.ops.smi import Null, log_count_bias, log_count_scale, segment_attention
from simmim.ops.steps import StepLayout

__all__ = ["AttendAttention"]


@STATE_READS.register("none")
@STATE_READS.register("attend")
class AttendAttention(TokenAttention):
    """Tokens attend to the states in the softmax of their own segment; states are pooled from the layer's input."""

    state_k_proj: nn.Linear
    state_v_proj: nn.Linear

    SHARPNESS = 0.2
    """Where ``sharpness``, the logit scale of each head with ``state_weight="shared"``, starts."""

    def build_read(self) -> None:
        """Add the parameters that this read of states needs."""
        options = self.options
        if not options.tie_state_projections:
            self.state_k_proj = nn.Linear(options.hidden_size, options.num_heads * self.state_dim, bias=False)
            self.state_v_proj = nn.Linear(options.hidden_size, options.hidden_size, bias=False)
        if options.state_weight == "shared":
            self.sharpness = nn.Parameter(torch.full((options.num_heads,), self.SHARPNESS))

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
            attention_mask: ``[B, N]``, 1 for tokens and 0 for padding, wherever it is; None if all are tokens.
            layout: what ``layout()`` or ``SegmentLayout.packed`` returned for this batch, instead of a mask.
            past: what came before these tokens (causal only).
            use_cache: return a cache, too.
            maps: gets the attention weights, which are computed only then: N·K numbers a head.

        Returns:
            ``[B, N, E]``, zero at padding; after a past, or with ``use_cache``, what ``extend`` returns.

        Raises:
            ShapeError: a shape is not as above.
        """
        if use_cache or past is not None:
            return self.extend(hidden_states, attention_mask, layout=layout, past=past, maps=maps)
        assert not isinstance(layout, StepLayout)
        check_tokens(hidden_states, self.hidden_size, layout)
        if layout is None:
            layout = self.layout(len(hidden_states), hidden_states.shape[1], attention_mask, hidden_states.device)
        if not layout.segments:
            return torch.zeros_like(hidden_states)
        out, _ = self.attend_segments(recomputed(layout.to_segments, hidden_states), layout, maps=maps)
        return layout.to_tokens(out)

    def attend_segments(
        self,
        x: Float[Tensor, "S L E"],
        layout: SegmentLayout,
        *,
        past: SegmentCache | None = None,
        use_cache: bool = False,
        maps: AttentionMaps | None = None,
    ) -> Attended:
        """Attend on whole segments; return the output and, if asked for, the cache to go on from."""
        rotary = slot_rotary(self.options, layout, x.dtype)  # R(u)
        keys = self.token_keys(x, layout, rotary, past)  # R(u) x_u W_k and x_u W_v for every token
        if not self.options.reads_states:
            out = self.read(x, keys, layout, rotary=rotary, maps=maps)
            return out, self.cache_of(layout, keys) if use_cache else None
        null = None if self.state_null is None else self.null_slot(layout.number)
        if layout.single and not use_cache:  # no document has another segment
            return self.read(x, keys, layout, rotary=rotary, null=null, maps=maps), None
        pooled = self.pool(x, layout, past)  # s_j
        vectors, states = self.state_keys(pooled[0], layout, past)  # s_j W_k and s_j W_v
        reach = self.reach(layout, past)  # j ≠ i, causal: j < i
        out = self.read(x, keys, layout, rotary=rotary, reach=reach, states=states, null=null, maps=maps)  # X_i
        if not use_cache:
            return out, None
        cache = self.cache_of(layout, keys)
        cache.set_pooled(layout, pooled)
        self.cache_states(cache, reach, vectors, states)
        return out, cache

    def token_keys(
        self, x: Float[Tensor, "S L E"], layout: SegmentLayout, rotary: Rotary | None, past: SegmentCache | None
    ) -> TokenKeys:
        """Return the keys and values of tokens, and of those of the past that they read."""
        keys = chunked(
            lambda part, *angles: rotate(self._split(self.k_proj(part)), angles or None),
            *(x, *(rotary or ())),
            width=4 * x.shape[1:].numel(),
        )
        projected = keys, self._split(self.v_proj(x))
        return projected if past is None else past.fill_slots(layout, projected)

    def pool(self, x: Float[Tensor, "S L E"], layout: SegmentLayout, past: SegmentCache | None) -> Pooled:
        """Return the states of segments, and their weights; that of the segment under way goes on from the past."""
        pooled: Pooled = self.state_pooling(x, layout.mask)
        return pooled if past is None else past.pool(self.state_pooling.merge, layout, pooled)

    @property
    def state_dim(self) -> int:
        """Channels of a head that keys of states have: those that are not rotated, or all, if all are."""
        rotated = 2 * self.options.rotary_pairs
        return self.head_dim - rotated if rotated < self.head_dim else self.head_dim

    def project_states(self, states: Float[Tensor, "*S E"], numbers: Shaped[Tensor, "*S"]) -> StateKeys:
        """Return the keys and values of states, which are found by the channels that no position rotates.

        (Decision 0008.) Where all channels are rotated, a state is at the middle of its segment, and the null slot
        where the own segment's state would be.
        """
        tied, missing = self.options.tie_state_projections, (self.head_dim - self.state_dim) // 2
        keys = self.k_proj(states) if tied else self.state_k_proj(states)
        values = self.v_proj(states) if tied else self.state_v_proj(states)
        if missing:
            # A head is the first channels of its D/2 pairs, then the second ones. Of each half the channels that are
            # rotated, the first ``missing``, become zero, so that scores are those of the other channels alone.
            halves = keys.unflatten(-1, (2 * self.options.num_heads, -1))[..., missing if tied else 0 :]
            keys = F.pad(halves, (missing, 0)).flatten(-2)
        keys = self._split(keys)
        if self.options.rotary_pairs and not missing:
            length = self.options.segment_length
            keys = rotate(keys, rotary_of(self.options, numbers * length + (length - 1) / 2, keys.dtype))
        return keys, self._split(values)

    def read(
        self,
        x: Float[Tensor, "S L E"],
        keys: TokenKeys,
        layout: SegmentLayout,
        *,
        rotary: Rotary | None,
        reach: Reach | None = None,
        states: StateKeys | None = None,
        null: Null | None = None,
        maps: AttentionMaps | None = None,
    ) -> Float[Tensor, "S L E"]:
        """Let tokens read keys, states and null slot, chunk by chunk, and project what they read."""
        causal, neighbours = self.options.causal, self.options.neighbours
        on_weights = None if maps is None else maps.of_segments(layout, causal=causal, neighbours=neighbours)
        reached, bias, shared = None, None, None
        width = (1 + (1 if causal else 2) * neighbours) * layout.segment_length  # keys of a segment
        if reach is not None and states is not None:
            reached = reach.arrange(states[0]), reach.arrange(states[1])
            width += reach.mask.shape[1]
            if self.options.state_weight == "shared":
                bias, shared = log_count_bias(reach.mask, 1, x.dtype), reach.count
            elif self.trained_states is not None:
                bias = log_count_bias(reach.mask, self.trained_states, x.dtype)
        out, all_rows = None, [slice(0, layout.segments)]
        for rows in all_rows if maps is not None else chunks(layout.segments, 2 * width * self.hidden_size):
            # Q_i = R x_i W_q
            q = rotate(self._split(self.q_proj(x[rows])), rotary and (rotary[0][rows], rotary[1][rows]))
            if shared is not None:
                q = log_count_scale(q, self.sharpness, shared[rows, None])
            attended = segment_attention(
                *(q, *keys, layout),
                rows=rows,
                causal=causal,
                neighbours=neighbours,
                reach=reach,
                states=reached,
                state_bias=None if bias is None else bias[rows],
                null=null,
                on_weights=on_weights,
            )
            part: Tensor = self.o_proj(attended.flatten(-2))
            if part.shape[0] == layout.segments:
                return part
            out = torch.empty_like(x) if out is None else out
            out[rows] = part
        return torch.zeros_like(x) if out is None else out

    def _split(self, x: Float[Tensor, "*T _"]) -> Float[Tensor, "*T H D"]:
        """Cut channels into heads."""
        return x.view(*x.shape[:-1], self.options.num_heads, self.head_dim)
