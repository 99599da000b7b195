"""States that ask each other, and what they heard added to every token of their segment (source §3.1, §4.1).

``state_read="broadcast"`` is the source's literal form, ``"gated_broadcast"`` the same through a learned scale.
Letters: B documents, S segments of all documents together, L segment length, H heads, D head width, E width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from simmim.nn.attend import AttendAttention
from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.cache import SegmentCache
from simmim.nn.rotary import rotary_of, rotate, slot_rotary
from simmim.nn.smi_attention import STATE_READS, Attended
from simmim.nn.states import StateKeys
from simmim.nn.variants.poolings import FirstPooling
from simmim.ops.exchange import exchange_states
from simmim.ops.layout import SegmentLayout
from simmim.ops.steps import READ, UNREAD, StepLayout, decode_attention, key_bias

__all__ = ["BroadcastAttention", "GatedBroadcastAttention", "StateFFN"]


class StateFFN(nn.Module):
    """The FFN that a broadcast message passes through (source §4.1): E -> 4E -> E, GELU."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.down = nn.Linear(4 * hidden_size, hidden_size, bias=False)
        # What is added to a whole segment at once disturbs early training: the message starts at zero.
        nn.init.zeros_(self.down.weight)

    def forward(self, states: Float[Tensor, "*S E"]) -> Float[Tensor, "*S E"]:
        """Map every state."""
        out: Tensor = self.down(nn.functional.gelu(self.up(states)))
        return out


@STATE_READS.register("broadcast")
class BroadcastAttention(AttendAttention):
    """Every token of a segment gets FFN(s̃), the updated state of its segment (source §3.1, §4.1).

    Bidirectional: the state asks and is asked. Causal: the segment's first vector asks, and the states of finished
    segments are asked, so that no token hears of a later one.
    """

    state_q_proj: nn.Linear

    def build_read(self) -> None:
        """Add ``state_q_proj``, ``state_k_proj``, ``state_v_proj`` and ``state_ffn``."""
        width = self.options.hidden_size
        for name in ("state_q_proj", "state_k_proj", "state_v_proj"):
            setattr(self, name, nn.Linear(width, width, bias=False))
        self.state_ffn = StateFFN(width)

    def scale(self, message: Tensor) -> Tensor:
        """Return the message as the tokens get it."""
        return message

    def project_states(self, states: Float[Tensor, "*S E"], numbers: Shaped[Tensor, "*S"]) -> StateKeys:
        """Return the keys and values of states; a state's position is its number."""
        keys = self._split(self.state_k_proj(states))
        return rotate(keys, rotary_of(self.options, numbers, keys.dtype)), self._split(self.state_v_proj(states))

    def state_queries(self, states: Float[Tensor, "*S E"], numbers: Shaped[Tensor, "*S"]) -> Float[Tensor, "*S H D"]:
        """Return the queries of states with these numbers."""
        queries = self._split(self.state_q_proj(states))
        return rotate(queries, rotary_of(self.options, numbers, queries.dtype))

    def attend_segments(
        self,
        x: Float[Tensor, "S L E"],
        layout: SegmentLayout,
        *,
        past: SegmentCache | None = None,
        use_cache: bool = False,
        maps: AttentionMaps | None = None,
    ) -> Attended:
        """X_i = X̂_i + FFN(s_i + Σ_{j≠i} α_ij (s_j Wv))."""
        # X̂_i = softmax(Q_i K_iᵀ / √D) V_i
        rotary = slot_rotary(self.options, layout, x.dtype)
        keys = self.token_keys(x, layout, rotary, past)
        local = self.read(x, keys, layout, rotary=rotary, maps=maps)
        # s_i; a causal segment's query is its first vector, since the state depends on its end
        pooled = self.pool(local, layout, past)
        entering = FirstPooling.pick(local, layout.mask) if self.causal else pooled[0]
        vectors, states = self.state_keys(pooled[0], layout, past)
        reach = self.reach(layout, past)
        # Σ_{j≠i} α_ij (s_j Wv)
        heard = exchange_states(
            self.state_queries(entering, layout.number),
            states,
            reach,
            null=self.null_slot(layout.number),
            on_weights=None if maps is None else maps.of_states(layout),
        )
        # FFN(s̃_i)
        message = self.state_ffn(entering + heard.flatten(-2))
        if past is not None:
            # The first token of the segment under way has asked already.
            assert past.message is not None
            message = torch.where(past.goes_on(layout)[:, None], past.message[layout.document], message)
        out = local + self.scale(message)[:, None]
        if not use_cache:
            return out, None
        cache = self.cache_of(layout, keys)
        cache.set_pooled(layout, pooled)
        self.cache_states(cache, reach, vectors, states)
        cache.message = cache.last_of(layout, message)
        return out, cache

    def attend_token(
        self, x: Float[Tensor, "B E"], cache: SegmentCache, layout: StepLayout, maps: AttentionMaps | None
    ) -> Float[Tensor, "B E"]:
        """Add the message of the segment under way; a segment's first token asks for it."""
        local = self.attend_window(x, cache, layout, maps)
        assert cache.message is not None
        asks = layout.real.where(layout.begins.flags)
        if asks.any:
            cache.message = asks.choose(self._ask(local, cache, layout, maps), cache.message)
        self.pool_token(local, cache, layout)
        return local + self.scale(cache.message)

    def _ask(
        self, local: Tensor, cache: SegmentCache, layout: StepLayout, maps: AttentionMaps | None
    ) -> Float[Tensor, "B E"]:
        # The sum over nothing is zero: a token that may read no state reads the slot behind them, whose value is zero.
        null = self.null_slot(cache.number)
        read = [[*row, READ if null is not None or READ not in row else UNREAD] for row in self.finished(layout)]
        q = self.state_queries(local, cache.number)
        null_slot = null if null is not None else (torch.zeros_like(q), torch.zeros_like(q))
        bias = key_bias(read, q)
        keys, values = (
            torch.cat((cached[:, :, : bias.shape[-1] - 1], slot[:, :, None]), dim=2)
            for cached, slot in zip(cache.states, null_slot, strict=True)
        )
        on_weights = None if maps is None else maps.of_asking(with_null=null is not None)
        heard = decode_attention(q, keys, values, bias, on_weights=on_weights)
        message: Tensor = self.state_ffn(local + heard)
        return message


@STATE_READS.register("gated_broadcast")
class GatedBroadcastAttention(BroadcastAttention):
    """A broadcast through one learned scale a channel, started near zero."""

    START = 0.01

    def build_read(self) -> None:
        """Add what a broadcast needs, and ``state_gate``."""
        super().build_read()
        self.state_gate = nn.Parameter(torch.full((self.options.hidden_size,), self.START))

    def scale(self, message: Tensor) -> Tensor:
        """Return the message, channel by channel times the gate."""
        return message * self.state_gate
