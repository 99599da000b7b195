"""The layers that models are stacks of: attention, cross-attention and a gated FFN on a normed residual stream."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.cache import SegmentCache
from simmim.nn.cross_attention import CrossAttention
from simmim.nn.recomputing import recomputing
from simmim.nn.smi_attention import SMIAttention
from simmim.nn.tokenwise import GatedFFN, RMSNorm, chunked_tokens
from simmim.ops.layout import SegmentLayout
from simmim.ops.steps import StepLayout

__all__ = ["DecoderBlock", "EncoderBlock"]


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + FFN(norm(x)).

    Args:
        attention: SMI attention or another module that encodes segments: it has ``hidden_size`` and takes
            ``(hidden_states, layout=...)``; if its maps are wanted, ``maps`` too.
        intermediate_size: width of the FFN.
        norm_eps: of the RMS norms.
        dropout: share of the channels dropped before each sum.
    """

    def __init__(self, attention: nn.Module, intermediate_size: int, norm_eps: float, dropout: float) -> None:
        super().__init__()
        hidden_size = attention.hidden_size
        assert isinstance(hidden_size, int)
        self.attention_norm = RMSNorm(hidden_size, eps=norm_eps)
        self.attention = attention
        self.ffn_norm = RMSNorm(hidden_size, eps=norm_eps)
        self.ffn = GatedFFN(hidden_size, intermediate_size)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden_states: Float[Tensor, "B N E"], layout: SegmentLayout, maps: AttentionMaps | None = None
    ) -> Float[Tensor, "B N E"]:
        """Apply the block to the tokens that the layout maps; ``maps`` gets the attention's weights."""
        wanted = {} if maps is None else {"maps": maps}
        with recomputing():
            normed = chunked_tokens(hidden_states, self.attention_norm)
            attended = self.attention(normed, layout=layout, **wanted)
        del normed  # a long document's tokens are not kept twice
        hidden_states = hidden_states + self.dropout(attended)
        del attended
        return hidden_states + self.dropout(chunked_tokens(hidden_states, self.ffn_norm, self.ffn))


class DecoderBlock(nn.Module):
    """x + causal SMI(norm(x)), then x + cross-attention(norm(x)) if there is one, then x + FFN(norm(x)).

    Args:
        attention: the block's causal SMI attention.
        intermediate_size: width of the FFN.
        norm_eps: of the RMS norms.
        dropout: share of the channels dropped before each sum.
        cross_attention: what reads the memory; None for a decoder without one.
    """

    def __init__(
        self,
        attention: SMIAttention,
        intermediate_size: int,
        norm_eps: float,
        dropout: float,
        cross_attention: CrossAttention | None = None,
    ) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(attention.hidden_size, eps=norm_eps)
        self.attention = attention
        if cross_attention is not None:
            self.cross_attention_norm = RMSNorm(attention.hidden_size, eps=norm_eps)
        self.cross_attention = cross_attention
        self.ffn_norm = RMSNorm(attention.hidden_size, eps=norm_eps)
        self.ffn = GatedFFN(attention.hidden_size, intermediate_size)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        hidden_states: Float[Tensor, "R N E"],
        *memory: Tensor,
        memory_mask: Bool[Tensor, "B M"] | None = None,
        attention_mask: Bool[Tensor, "R N"] | None = None,
        layout: SegmentLayout | StepLayout | None = None,
        past: SegmentCache | None = None,
        use_cache: bool = False,
        maps: AttentionMaps | None = None,
    ) -> tuple[Float[Tensor, "R N E"], SegmentCache | None]:
        """Apply the block to whole texts, or to the tokens that come after a past.

        Args:
            hidden_states: ``[R, N, E]``: R texts.
            *memory: what ``cross_attention.project_memory`` made of the memory of B documents, each of which R/B texts
                side by side read; read only where there is one. Each tensor comes by itself: it gets a gradient, and
                reentrant checkpointing does not look into tuples.
            memory_mask: ``[B, M]`` which memory vectors exist.
            attention_mask: ``[R, N]`` which tokens exist.
            layout: of whole texts, or what ``past.layout`` returned.
            past: what came before these tokens.
            use_cache: return the cache to go on from.
            maps: gets the weights of both attentions.
        """
        with recomputing():
            normed = chunked_tokens(hidden_states, self.attention_norm)
            if use_cache or past is not None:
                # Called, not only its ``extend``: what loads parameters late (accelerate) hooks into the call.
                attended, past = self.attention(
                    normed, attention_mask, layout=layout, past=past, use_cache=True, maps=maps
                )
            else:
                attended = self.attention(normed, layout=layout, maps=maps)
        hidden_states = self._add(hidden_states, attended)
        if self.cross_attention is not None:
            with recomputing():
                read = self.cross_attention(self.cross_attention_norm(hidden_states), memory, memory_mask, maps)
            hidden_states = self._add(hidden_states, read)
        return self._add(hidden_states, chunked_tokens(hidden_states, self.ffn_norm, self.ffn)), past

    def _add(self, hidden_states: Tensor, found: Tensor) -> Tensor:
        # Dropout is not even called while decoding, where every call counts.
        return hidden_states + (self.dropout(found) if self.training else found)
