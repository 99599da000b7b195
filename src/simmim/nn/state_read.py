"""How the other segments' states reach the tokens (``state_read``): none, broadcast, gated_broadcast, attend.

A read adds the parameters that it needs to the ``SMIAttention`` that it serves, and has two forms: ``forward`` on whole
segments and ``step`` on one token of each document. It keeps no parameters of its own, so state-dict keys are those of
the attention: ``state_q_proj state_k_proj state_v_proj state_ffn state_gate state_null state_pooling``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from simmim.nn.registry import Registry
from simmim.nn.rotary import rotate
from simmim.nn.segment_cache import SegmentCache
from simmim.nn.state_pooling import FirstPooling
from simmim.ops.segments import SegmentLayout
from simmim.ops.smi import decode_attention, exchange_states, segment_attention

if TYPE_CHECKING:
    from simmim.nn.smi_attention import SMIAttention

__all__ = ["STATE_READS", "Attend", "Broadcast", "GatedBroadcast", "NoRead", "StateFFN", "StateRead"]


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

    def forward(
        self, attention: SMIAttention, x: Float[Tensor, "S L E"], layout: SegmentLayout, use_cache: bool
    ) -> tuple[Float[Tensor, "S L E"], SegmentCache | None]:
        """Attend on whole segments; return the output and, if asked for, the cache to go on from."""
        q, k, v = attention.project(x, attention.turn_of(layout, x.dtype))
        out = segment_attention(q, k, v, layout, causal=attention.causal, neighbours=attention.neighbours)
        cache = SegmentCache.from_segments(layout, attention.window, k, v) if use_cache else None
        return attention.o_proj(out.flatten(-2)), cache

    def step(
        self, attention: SMIAttention, x: Float[Tensor, "B E"], cache: SegmentCache, real: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B E"]:
        """Attend with the next token of each document, and write it into the cache where it is real."""
        q, k, v = attention.project(x, attention.turn(cache.position, x.dtype))
        cache.write_token(k, v, real)
        allowed = cache.readable_window(attention.segment_length, attention.neighbours)
        out: Tensor = attention.o_proj(decode_attention(q, cache.keys, cache.values, allowed).flatten(-2))
        return out


STATE_READS: Registry[StateRead] = Registry("state_read")


@STATE_READS.register("none")
class NoRead(StateRead):
    """States do not exist: block-local or, with neighbours, sliding-window attention."""


@STATE_READS.register("attend")
class Attend(StateRead):
    """Tokens attend to the states in the softmax of their own segment; states are pooled from the layer's input.

    A state stands at the middle of its segment; the null slot stands where the own segment's state would.
    """

    reads_states = True

    def build(self, attention: SMIAttention) -> None:
        """Add ``state_k_proj`` and ``state_v_proj``."""
        attention.state_k_proj = nn.Linear(attention.hidden_size, attention.hidden_size, bias=False)
        attention.state_v_proj = nn.Linear(attention.hidden_size, attention.hidden_size, bias=False)

    def forward(
        self, attention: SMIAttention, x: Float[Tensor, "S L E"], layout: SegmentLayout, use_cache: bool
    ) -> tuple[Float[Tensor, "S L E"], SegmentCache | None]:
        """Attend to tokens and states in one softmax."""
        q, k, v = attention.project(x, attention.turn_of(layout, x.dtype))
        middle = self._middle(attention, layout.rank)
        states = pooled = None
        if layout.max_segments > 1 or use_cache:
            pooled = attention.state_pooling(x, layout.mask)
            states = attention.project_states(pooled[0], middle)
        null = attention.null_slot(middle)
        out = segment_attention(
            q, k, v, layout, causal=attention.causal, neighbours=attention.neighbours, states=states, null=null
        )
        cache = None
        if use_cache and pooled is not None and states is not None:
            cache = SegmentCache.from_segments(layout, attention.window, k, v)
            cache.keep_states(layout, states, pooled)
        return attention.o_proj(out.flatten(-2)), cache

    def step(
        self, attention: SMIAttention, x: Float[Tensor, "B E"], cache: SegmentCache, real: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B E"]:
        """Attend to the window, the finished segments and the null slot; then add the token to its segment's state."""
        q, k, v = attention.project(x, attention.turn(cache.position, x.dtype))
        cache.write_token(k, v, real)
        number = cache.position // attention.segment_length
        state_keys, state_values, finished = cache.finished_states(number)
        keys, values = [cache.keys, state_keys], [cache.values, state_values]
        allowed = [cache.readable_window(attention.segment_length, attention.neighbours), finished]
        null = attention.null_slot(self._middle(attention, number))
        if null is not None:
            keys.append(null[0][:, None])
            values.append(null[1][:, None])
            allowed.append(torch.ones_like(real)[:, None])
        out = decode_attention(q, torch.cat(keys, 1), torch.cat(values, 1), torch.cat(allowed, 1))
        _pool_token(attention, x, cache, real, self._middle(attention, number))
        projected: Tensor = attention.o_proj(out.flatten(-2))
        return projected

    @staticmethod
    def _middle(attention: SMIAttention, number: Tensor) -> Tensor:
        return number * attention.segment_length + (attention.segment_length - 1) / 2


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
        self, attention: SMIAttention, x: Float[Tensor, "S L E"], layout: SegmentLayout, use_cache: bool
    ) -> tuple[Float[Tensor, "S L E"], SegmentCache | None]:
        """X_i = X̂_i + FFN(s_i + Σ_{j≠i} α_ij (s_j Wv))."""
        local, cache = super().forward(attention, x, layout, use_cache)
        pooled = attention.state_pooling(local, layout.mask)
        entering = FirstPooling.pick(local, layout.mask) if attention.causal else pooled[0]
        q = _state_queries(attention, entering, layout.rank)
        k, v = attention.project_states(pooled[0], layout.rank)
        heard = exchange_states(q, k, v, layout, causal=attention.causal, null=attention.null_slot(layout.rank))
        message = attention.state_ffn(entering + heard.flatten(-2))
        if cache is not None:
            cache.keep_states(layout, (k, v), pooled)
            cache.message = cache.last_of(layout, message)
        return local + self.scale(attention, message)[:, None], cache

    def step(
        self, attention: SMIAttention, x: Float[Tensor, "B E"], cache: SegmentCache, real: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B E"]:
        """Add the message of the segment under way; a segment's first token asks for it."""
        local = super().step(attention, x, cache, real)
        number = cache.position // attention.segment_length
        assert cache.message is not None
        asks = real & _begins(attention, cache)
        if bool(asks.any()):
            q = _state_queries(attention, local, number)
            keys, values, allowed = cache.finished_states(number)
            null = attention.null_slot(number)
            null_key, null_value = null if null is not None else (torch.zeros_like(q), torch.zeros_like(q))
            last = ~allowed.any(1, keepdim=True) | (null is not None)
            heard = decode_attention(
                q,
                torch.cat((keys, null_key[:, None]), 1),
                torch.cat((values, null_value[:, None]), 1),
                torch.cat((allowed, last), 1),
            )
            message = attention.state_ffn(local + heard.flatten(-2))
            cache.message = torch.where(asks[:, None], message, cache.message)
        _pool_token(attention, local, cache, real, number)
        return local + self.scale(attention, cache.message)


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


def _state_queries(attention: SMIAttention, states: Tensor, number: Tensor) -> Tensor:
    queries = attention.split(attention.state_q_proj(states))
    return rotate(queries, attention.turn(number, queries.dtype))


def _begins(attention: SMIAttention, cache: SegmentCache) -> Tensor:
    """Return which documents' next token is the first of a segment."""
    return (cache.position % attention.segment_length == 0) | (cache.position == attention.origin)


def _pool_token(
    attention: SMIAttention, token: Tensor, cache: SegmentCache, real: Tensor, state_position: Tensor
) -> None:
    """Add a token to the state of its segment; write the state of a segment that it finishes."""
    slot = cache.position % attention.segment_length
    cache.add_token(attention.state_pooling, token, real, begins=_begins(attention, cache))
    done = real & (slot == attention.segment_length - 1)
    if bool(done.any()):
        assert cache.pooled is not None
        k, v = attention.project_states(cache.pooled.to(token.dtype), state_position)
        cache.write_state(cache.position // attention.segment_length, k, v, done)
