"""How the other segments' states reach the tokens (``state_read``): none, broadcast, gated_broadcast, attend.

A read adds the parameters that it needs to the ``SMIAttention`` that it serves, and has two forms: ``forward`` on whole
segments and ``step`` on one token of each document. It keeps no parameters of its own, so state-dict keys are those of
the attention: ``state_q_proj state_k_proj state_v_proj state_ffn state_gate state_null state_pooling sharpness``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.registry import Registry
from simmim.nn.rotary import rotate
from simmim.nn.segment_cache import SegmentCache
from simmim.nn.state_pooling import FirstPooling
from simmim.ops.segments import SegmentLayout
from simmim.ops.smi import decode_attention, exchange_states, key_bias
from simmim.ops.steps import READ, UNREAD, StepLayout

if TYPE_CHECKING:
    from simmim.nn.smi_attention import SMIAttention

__all__ = ["STATE_READS", "Attend", "Broadcast", "GatedBroadcast", "NoRead", "StateFFN", "StateRead"]

Output = tuple[Float[Tensor, "S L E"], SegmentCache | None]


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


class StateRead:
    """Base of the reads: tokens of the own segment and its neighbours only."""

    reads_states = False

    def build(self, attention: SMIAttention) -> None:
        """Add to the attention the parameters that this read needs."""

    def project(
        self, attention: SMIAttention, states: Float[Tensor, "*S E"]
    ) -> tuple[Float[Tensor, "*S _"], Float[Tensor, "*S E"]]:
        """Return the keys and values of states, before they are cut into heads."""
        return attention.state_k_proj(states), attention.state_v_proj(states)

    def placed(
        self, attention: SMIAttention, keys: Float[Tensor, "*S H D"], numbers: Shaped[Tensor, "*S"]
    ) -> Float[Tensor, "*S H D"]:
        """Turn the keys of states to where they stand: at the numbers of their segments."""
        return rotate(keys, attention.turn(numbers, keys.dtype))

    def forward(
        self,
        attention: SMIAttention,
        x: Float[Tensor, "S L E"],
        layout: SegmentLayout,
        use_cache: bool,
        maps: AttentionMaps | None,
        past: SegmentCache | None = None,
    ) -> Output:
        """Attend on whole segments; return the output and, if asked for, the cache to go on from.

        With a past, which has made the layout, its tokens stand before the new ones, and are read, but do not ask.
        """
        keys = attention.project_keys(x, layout, past)
        out = attention.read(x, keys, layout, maps=maps)
        return out, attention.cache_of(layout, keys) if use_cache else None

    def step(
        self,
        attention: SMIAttention,
        x: Float[Tensor, "B E"],
        cache: SegmentCache,
        layout: StepLayout,
        maps: AttentionMaps | None,
    ) -> Float[Tensor, "B E"]:
        """Attend with the next token of each document, and write it into the cache where it is real."""
        q, k, v = attention.project_token(x, layout)
        cache.write_token(layout, k, v)
        room = cache.room
        bias = layout.memo(("window", room, q.dtype), lambda: key_bias(layout.readable(room), q))
        see = None if maps is None else maps.of_window(cache)
        out = decode_attention(q, cache.keys[:, :, :room], cache.values[:, :, :room], bias, see=see)
        projected: Tensor = attention.o_proj(out)
        return projected


STATE_READS: Registry[StateRead] = Registry("state_read")


@STATE_READS.register("none")
class NoRead(StateRead):
    """States do not exist: block-local or, with neighbours, sliding-window attention."""


@STATE_READS.register("attend")
class Attend(StateRead):
    """Tokens attend to the states in the softmax of their own segment; states are pooled from the layer's input.

    They are found by the channels that no position turns (decision 0008). Where all channels turn, a state stands at
    the middle of its segment, and the null slot where the own segment's state would.
    """

    SHARPNESS = 0.2
    """Where ``sharpness`` starts."""

    reads_states = True

    def build(self, attention: SMIAttention) -> None:
        """Add ``state_k_proj`` and ``state_v_proj`` if they are not tied, ``sharpness`` if states share a weight."""
        if not attention.tie_state_projections:
            width = attention.head_dim if self._all_turn(attention) else attention.head_dim - 2 * attention.turned_pairs
            attention.state_k_proj = nn.Linear(attention.hidden_size, attention.num_heads * width, bias=False)
            attention.state_v_proj = nn.Linear(attention.hidden_size, attention.hidden_size, bias=False)
        if attention.state_weight == "shared":
            attention.sharpness = nn.Parameter(torch.full((attention.num_heads,), self.SHARPNESS))

    def project(
        self, attention: SMIAttention, states: Float[Tensor, "*S E"]
    ) -> tuple[Float[Tensor, "*S _"], Float[Tensor, "*S E"]]:
        """Return the keys, of the channels that do not turn (or all, if all do), and the values."""
        if not attention.tie_state_projections:
            return super().project(attention, states)
        keys = attention.k_proj(states)
        if not self._all_turn(attention):
            keys = keys.unflatten(-1, (2 * attention.num_heads, -1))[..., attention.turned_pairs :].flatten(-2)
        return keys, attention.v_proj(states)

    def placed(
        self, attention: SMIAttention, keys: Float[Tensor, "*S H _"], numbers: Shaped[Tensor, "*S"]
    ) -> Float[Tensor, "*S H D"]:
        """Turn the keys to the middles of the segments, or put zeros where tokens turn."""
        if self._all_turn(attention):
            middles = numbers * attention.segment_length + (attention.segment_length - 1) / 2
            return rotate(keys, attention.turn(middles, keys.dtype))
        if not attention.turned_pairs:
            return keys
        return F.pad(keys.unflatten(-1, (2, -1)), (attention.turned_pairs, 0)).flatten(-2)

    @staticmethod
    def _all_turn(attention: SMIAttention) -> bool:
        return attention.turned_pairs == attention.head_dim // 2

    def forward(
        self,
        attention: SMIAttention,
        x: Float[Tensor, "S L E"],
        layout: SegmentLayout,
        use_cache: bool,
        maps: AttentionMaps | None,
        past: SegmentCache | None = None,
    ) -> Output:
        """Attend to tokens and states in one softmax."""
        keys = attention.project_keys(x, layout, past)
        null = attention.null_slot(layout.number)
        if layout.single and not use_cache:
            return attention.read(x, keys, layout, null=null, maps=maps), None
        pooled = attention.pool(x, layout, past)
        vectors, states = attention.state_reach.states(attention, pooled[0], layout, past)
        reach = attention.state_reach.of(layout, attention.causal, past)
        out = attention.read(x, keys, layout, reach=reach, states=states, null=null, maps=maps)
        if not use_cache:
            return out, None
        cache = attention.cache_of(layout, keys)
        cache.keep_pooled(layout, pooled)
        attention.state_reach.keep(cache, reach, vectors, states)
        return out, cache

    def step(
        self,
        attention: SMIAttention,
        x: Float[Tensor, "B E"],
        cache: SegmentCache,
        layout: StepLayout,
        maps: AttentionMaps | None,
    ) -> Float[Tensor, "B E"]:
        """Attend to the window, the finished states and the null slot; then add the token to its segment's state."""
        q, k, v = attention.project_token(x, layout)
        cache.write_token(layout, k, v)
        if attention.state_weight == "shared":
            counts = [row.count(READ) for row in self._finished(attention, layout)]
            q = attention.sharpen(q, torch.tensor(counts, device=q.device))
        null = None
        if attention.state_null is not None:
            null = attention.null_slot(layout.told // attention.segment_length)
        bias = layout.memo(
            ("window and states", cache.room, q.dtype, null is None),
            lambda: self._bias(attention, layout, cache.room, q, null is not None),
        )
        keys, values = cache.keys, cache.values
        end = bias.shape[-1] - (null is not None)
        if end < keys.shape[2]:
            keys, values = keys.narrow(2, 0, end), values.narrow(2, 0, end)
        if null is not None:
            keys, values = (
                torch.cat((kept, slot[:, :, None].expand(len(x), -1, -1, -1)), dim=2)
                for kept, slot in zip((keys, values), null, strict=True)
            )
        see = None if maps is None else maps.of_window(cache)
        out = decode_attention(q, keys, values, bias, see=see)
        _pool_token(attention, x, cache, layout)
        projected: Tensor = attention.o_proj(out)
        return projected

    @staticmethod
    def _finished(attention: SMIAttention, layout: StepLayout) -> list[list[float]]:
        """Return which states the next token reads; layers that share a layout share the answer."""
        found: list[list[float]] = layout.memo("finished states", lambda: attention.state_reach.finished(layout))
        return found

    def _bias(
        self, attention: SMIAttention, layout: StepLayout, room: int, q: Tensor, null: bool
    ) -> Float[Tensor, "U 1 1 K"]:
        window, states = layout.readable(room), self._finished(attention, layout)
        bias = key_bias([[*row, *more, *[READ] * null] for row, more in zip(window, states, strict=True)], q)
        if attention.most_weight is not None and states:
            share = attention.share(torch.tensor(states, device=q.device) == READ, q.dtype)
            if share is not None:
                bias[..., room : room + len(states[0])] += share[:, None, None, None]
        return bias


@STATE_READS.register("broadcast")
class Broadcast(StateRead):
    """Every token of a segment gets FFN(s̃), the updated state of its segment (source §3.1, §4.1).

    Bidirectional: the state asks and is asked. Causal: the segment's first vector asks, and the states of finished
    segments are asked, so that no token hears of a later one.
    """

    reads_states = True

    def build(self, attention: SMIAttention) -> None:
        """Add ``state_q_proj``, ``state_k_proj``, ``state_v_proj`` and ``state_ffn``."""
        for name in ("state_q_proj", "state_k_proj", "state_v_proj"):
            setattr(attention, name, nn.Linear(attention.hidden_size, attention.hidden_size, bias=False))
        attention.state_ffn = StateFFN(attention.hidden_size)

    def scale(self, attention: SMIAttention, message: Tensor) -> Tensor:
        """Return the message as the tokens get it."""
        return message

    def forward(
        self,
        attention: SMIAttention,
        x: Float[Tensor, "S L E"],
        layout: SegmentLayout,
        use_cache: bool,
        maps: AttentionMaps | None,
        past: SegmentCache | None = None,
    ) -> Output:
        """X_i = X̂_i + FFN(s_i + Σ_{j≠i} α_ij (s_j Wv))."""
        local, cache = super().forward(attention, x, layout, use_cache, maps, past)
        pooled = attention.pool(local, layout, past)
        entering = FirstPooling.pick(local, layout.mask) if attention.causal else pooled[0]
        vectors, states = attention.state_reach.states(attention, pooled[0], layout, past)
        reach = attention.state_reach.of(layout, attention.causal, past)
        heard = exchange_states(
            attention.state_queries(entering, layout.number),
            states,
            reach,
            null=attention.null_slot(layout.number),
            see=None if maps is None else maps.of_states(layout),
        )
        message = attention.state_ffn(entering + heard.flatten(-2))
        if past is not None:
            assert past.message is not None
            message = torch.where(past.goes_on(layout)[:, None], past.message[layout.document], message)
        if cache is not None:
            cache.keep_pooled(layout, pooled)
            attention.state_reach.keep(cache, reach, vectors, states)
            cache.message = cache.last_of(layout, message)
        return local + self.scale(attention, message)[:, None], cache

    def step(
        self,
        attention: SMIAttention,
        x: Float[Tensor, "B E"],
        cache: SegmentCache,
        layout: StepLayout,
        maps: AttentionMaps | None,
    ) -> Float[Tensor, "B E"]:
        """Add the message of the segment under way; a segment's first token asks for it."""
        local = super().step(attention, x, cache, layout, maps)
        assert cache.message is not None
        asks = layout.real.where(layout.begins.flags)
        if asks.any:
            cache.message = asks.choose(self._ask(attention, local, cache, layout, maps), cache.message)
        _pool_token(attention, local, cache, layout)
        return local + self.scale(attention, cache.message)

    @staticmethod
    def _ask(
        attention: SMIAttention, local: Tensor, cache: SegmentCache, layout: StepLayout, maps: AttentionMaps | None
    ) -> Tensor:
        # The sum over nothing is zero: a token that may read no state reads the slot behind them, whose value is zero.
        null = attention.null_slot(cache.number)
        read = [
            [*row, READ if null is not None or READ not in row else UNREAD]
            for row in attention.state_reach.finished(layout)
        ]
        q = attention.state_queries(local, cache.number)
        null_slot = null if null is not None else (torch.zeros_like(q), torch.zeros_like(q))
        bias = key_bias(read, q)
        keys, values = (
            torch.cat((kept[:, :, : bias.shape[-1] - 1], slot[:, :, None]), dim=2)
            for kept, slot in zip(cache.states, null_slot, strict=True)
        )
        see = None if maps is None else maps.of_asking(with_null=null is not None)
        heard = decode_attention(q, keys, values, bias, see=see)
        message: Tensor = attention.state_ffn(local + heard)
        return message


@STATE_READS.register("gated_broadcast")
class GatedBroadcast(Broadcast):
    """A broadcast through one learned scale a channel, started near zero."""

    START = 0.01

    def build(self, attention: SMIAttention) -> None:
        """Add what a broadcast needs, and ``state_gate``."""
        super().build(attention)
        attention.state_gate = nn.Parameter(torch.full((attention.hidden_size,), self.START))

    def scale(self, attention: SMIAttention, message: Tensor) -> Tensor:
        """Return the message, channel by channel times the gate."""
        return message * attention.state_gate


def _pool_token(attention: SMIAttention, token: Tensor, cache: SegmentCache, layout: StepLayout) -> None:
    """Add a token to the state of its segment; hand on the state of a segment that it finishes."""
    cache.add_token(attention.state_pooling, token, layout)
    if layout.ends.any:
        assert cache.pooled is not None
        attention.state_reach.finish(attention, cache, layout, cache.pooled.to(token.dtype))
