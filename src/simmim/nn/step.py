"""The default form's next token: one of each document reads the window and the finished states, and is written there.

Letters: B documents, U of them at different positions, H heads, D head width, K keys of a cache, E width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.cache import SegmentCache
from simmim.nn.rotary import rotate_token, token_rotary_embedding
from simmim.nn.smi_attention import SMIAttention
from simmim.ops.smi import log_count_bias, log_count_scale
from simmim.ops.steps import READ, StepLayout, decode_attention, key_bias

__all__ = ["TokenAttention"]


class TokenAttention(SMIAttention):
    """Base of the forms: attention with one token of each document."""

    sharpness: nn.Parameter

    def attend_token(
        self, x: Float[Tensor, "B E"], cache: SegmentCache, layout: StepLayout, maps: AttentionMaps | None
    ) -> Float[Tensor, "B E"]:
        """Attend to the window, the finished states and the null slot; then add the token to its segment's state."""
        if not self.options.reads_states:
            return self.attend_window(x, cache, layout, maps)
        q, k, v = self.project_token(x, layout)
        cache.write_token(layout, k, v)
        if self.options.state_weight == "shared":
            counts = [row.count(READ) for row in self._finished(layout)]
            q = log_count_scale(q, self.sharpness, torch.tensor(counts, device=q.device))
        null = None if self.state_null is None else self.null_slot(layout.unique // self.options.segment_length)
        bias = layout.memo(
            ("window and states", cache.capacity, q.dtype, null is None),
            lambda: self._bias(layout, cache.capacity, q, null is not None),
        )
        keys, values = cache.keys, cache.values
        # The cache has columns for states to come behind those that may be read.
        end = bias.shape[-1] - (null is not None)
        if end < keys.shape[2]:
            keys, values = keys.narrow(2, 0, end), values.narrow(2, 0, end)
        if null is not None:
            keys, values = (
                torch.cat((cached, slot[:, :, None].expand(len(x), -1, -1, -1)), dim=2)
                for cached, slot in zip((keys, values), null, strict=True)
            )
        on_weights = None if maps is None else maps.of_window(cache)
        out = decode_attention(q, keys, values, bias, on_weights=on_weights)
        self.pool_token(x, cache, layout)
        projected: Tensor = self.o_proj(out)
        return projected

    def attend_window(
        self, x: Float[Tensor, "B E"], cache: SegmentCache, layout: StepLayout, maps: AttentionMaps | None
    ) -> Float[Tensor, "B E"]:
        """Attend to the tokens of the window only."""
        q, k, v = self.project_token(x, layout)
        cache.write_token(layout, k, v)
        end = cache.capacity
        bias = layout.memo(("window", end, q.dtype), lambda: key_bias(layout.readable(end), q))
        on_weights = None if maps is None else maps.of_window(cache)
        out = decode_attention(q, cache.keys[:, :, :end], cache.values[:, :, :end], bias, on_weights=on_weights)
        projected: Tensor = self.o_proj(out)
        return projected

    def project_token(
        self, x: Float[Tensor, "B E"], layout: StepLayout
    ) -> tuple[Float[Tensor, "B H D"], Float[Tensor, "B H D"], Float[Tensor, "B H D"]]:
        """Return the query, key and value of the next token of each document."""
        heads, width, pairs = self.options.num_heads, self.options.head_dim, self.options.rotary_pairs
        # Query and key side by side, as twice as many heads: one rotation for both.
        both = torch.cat((self.q_proj(x), self.k_proj(x)), dim=-1).view(len(x), 2 * heads, width)
        if pairs:
            kind = (width, self.options.rope_theta, x.dtype, pairs)
            both = rotate_token(both, layout.memo(kind, token_rotary_embedding, layout.unique, *kind))
        q, k = both.chunk(2, dim=1)
        return q, k, self.v_proj(x).view(len(x), heads, width)

    def pool_token(self, token: Float[Tensor, "B E"], cache: SegmentCache, layout: StepLayout) -> None:
        """Add a token to the state of its segment; hand on the state of a segment that it finishes."""
        cache.add_token(self.state_pooling.add, self.state_pooling.empty, token, layout)
        if layout.ends.any:
            assert cache.pooled is not None
            self.finish(cache, layout, cache.pooled.to(token.dtype))

    def _finished(self, layout: StepLayout) -> list[list[float]]:
        """Return which states the next token reads; layers that share a layout share the answer."""
        found: list[list[float]] = layout.memo("finished states", lambda: self.finished(layout))
        return found

    def _bias(self, layout: StepLayout, capacity: int, q: Tensor, null: bool) -> Float[Tensor, "U 1 1 K"]:
        """Return what is added to the scores of the window, the states and the null slot."""
        window, states = layout.readable(capacity), self._finished(layout)
        bias = key_bias([[*row, *more, *[READ] * null] for row, more in zip(window, states, strict=True)], q)
        most = 1 if self.options.state_weight == "shared" else self.trained_states
        if most is not None and states:
            count_bias = log_count_bias(torch.tensor(states, device=q.device) == READ, most, q.dtype)
            if count_bias is not None:
                bias[..., capacity : capacity + len(states[0])] += count_bias[:, None, None, None]
        return bias
