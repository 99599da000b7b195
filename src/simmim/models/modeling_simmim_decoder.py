"""The SimMIM decoder: causal SMI layers that, where there is an encoder, also read its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.utils.generic import ModelOutput

from simmim.errors import ConfigError, ShapeError
from simmim.models.cache_simmim import SimMIMCache, SimMIMCacheLayer, SimMIMEncoderDecoderCache
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.layers_simmim import SimMIMDecoderLayer
from simmim.models.modeling_base import (
    SimMIMPreTrainedModel,
    layer_attention,
    layouts_in_turn,
    one_of,
    token_embedding,
)
from simmim.models.packed_documents import PackedDocuments
from simmim.models.transformers_hooks import called_once
from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.cross_attention import CrossAttention
from simmim.nn.memory import MEMORIES
from simmim.nn.tokenwise import RMSNorm
from simmim.ops.layout import SegmentLayout
from simmim.ops.segments import check_attention_mask
from simmim.ops.steps import StepLayout

__all__ = ["SimMIMDecoder", "SimMIMDecoderOutput"]

Past = SimMIMCache | SimMIMEncoderDecoderCache


@dataclass
class SimMIMDecoderOutput(ModelOutput):
    """What ``SimMIMDecoder`` returns.

    Attributes:
        last_hidden_state: ``[B, N, E]``.
        past_key_values: the cache to go on from.
        hidden_states: each ``[B, N, E]``: the embeddings, and the output of every layer.
        attentions: of each layer ``[B, H, N, K]`` what tokens give to the tokens of their segment and the one before.
        state_attentions: of each layer ``[B, H, N, C]`` (broadcasts: ``[B, H, S, C]``) what they, or the states, give
            to the states; None for a layer that reads no states.
        cross_attentions: of each layer ``[B, H, N, M]`` what tokens give to the memory.
    """

    last_hidden_state: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    state_attentions: tuple[Tensor | None, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


class SimMIMDecoder(SimMIMPreTrainedModel):
    """A stack of causal SMI layers.

    Args:
        config: its configuration.
        with_memory: let every layer read the memory that ``config.memory`` names, which makes ``num_decoder_layers``
            of them; else there are ``num_hidden_layers``, and no memory.
    """

    _no_split_modules = ["SimMIMDecoderLayer"]

    def __init__(self, config: SimMIMConfig, with_memory: bool = True) -> None:
        super().__init__(config)
        name = "num_decoder_layers" if with_memory else "num_hidden_layers"
        num_layers = getattr(config, name)
        if num_layers < 1:
            raise ConfigError(f"{name}: expected 1 or more for a decoder, got {num_layers}")
        self.embed_tokens: nn.Embedding = token_embedding(config)
        self.memory = None
        if with_memory:
            self.memory = MEMORIES.find(config.memory)(config.hidden_size, config.segment_length, config.aggregator)
        self.layers = nn.ModuleList(self._layer(config, i) for i in range(num_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def _layer(self, config: SimMIMConfig, number: int) -> SimMIMDecoderLayer:
        attention = layer_attention(config, number, causal=True)
        reader = None
        if self.memory is not None:
            reader = self.memory.reader(config.num_attention_heads, config.memory_top_k)
        return SimMIMDecoderLayer(attention, config.intermediate_size, config.norm_eps, config.dropout, reader)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        documents: PackedDocuments | None = None,
    ) -> SimMIMDecoderOutput:
        """Decode whole texts, or the tokens that come after a past.

        Args:
            input_ids: ``[B, N]`` int64; or ``inputs_embeds [B, N, E]``.
            attention_mask: ``[B, N]`` or longer, for past and new tokens.
            encoder_hidden_states: the encoder's output, of which the memory is made; of B documents, or of fewer, each
                of which the same number of texts read, which stand side by side.
            encoder_attention_mask: its mask.
            inputs_embeds: instead of ids.
            past_key_values: what came before, filled further in place.
            use_cache: return the cache; no gradient checkpointing then.
            output_hidden_states: also return the output of every layer.
            output_attentions: also return the maps of every layer; after a past only those of the last token.
            documents: of rows that hold several; they read neither each other nor a memory, and go into no cache.

        Raises:
            ShapeError: a shape is not as above, or the cache is not of this decoder's kind.
        """
        hidden = one_of(input_ids, inputs_embeds)
        if inputs_embeds is None:
            hidden = self.embed_tokens(hidden)
        batch, tokens, _ = hidden.shape
        mask = None if attention_mask is None else check_attention_mask(attention_mask[:, -tokens:], batch, tokens)
        past = self._cache(past_key_values, use_cache)
        memory = self._memory(encoder_hidden_states, encoder_attention_mask, batch, past)
        goes_on = past is not None and past.get_seq_length() > 0
        lengths, spread = None, AttentionMaps().spread
        maps = [AttentionMaps() for _ in self.layers] if output_attentions else None
        if documents is not None:
            assert past is None and self.memory is None
            hidden, mask, lengths, spread = documents.pack(hidden), None, documents.lengths, documents.spread
            maps = None if maps is None else [AttentionMaps(documents.spread, documents.pack) for _ in maps]
        layouts: Sequence[SegmentLayout | StepLayout] = (
            self._next(past, batch, tokens, mask)
            if goes_on
            else layouts_in_turn(self.config, hidden, mask, lengths=lengths, causal=True)
        )
        states = []
        for i in range(len(self.layers)):
            if output_hidden_states:
                states.append(spread(hidden))
                hidden = states[-1] if documents is None else documents.pack(states[-1])
            inputs = (hidden, *self._read(i, batch, memory, past), mask, layouts[i % len(layouts)])
            hidden = self._apply_layer(i, inputs, past, None if maps is None else maps[i])
        hidden = spread(self.norm(hidden))
        return SimMIMDecoderOutput(
            last_hidden_state=hidden,
            past_key_values=past,
            hidden_states=(*states, hidden) if output_hidden_states else None,
            attentions=None if maps is None else tuple(of.kept["segment"] for of in maps),
            state_attentions=None if maps is None else tuple(of.kept.get("state") for of in maps),
            cross_attentions=None if maps is None or self.memory is None else tuple(of.kept["cross"] for of in maps),
        )

    def _cache(self, past: Cache | None, use_cache: bool) -> Past | None:
        """Return the cache to fill, or say that it is another model's."""
        wanted = SimMIMCache if self.memory is None else SimMIMEncoderDecoderCache
        if past is None:
            return wanted(len(self.layers)) if use_cache else None
        if not isinstance(past, wanted) or len(past) != len(self.layers):
            raise ShapeError(
                f"past_key_values: expected the {wanted.__name__} of {len(self.layers)} layers that an earlier call "
                f"returned, got a {type(past).__name__} of {len(past)}"
            )
        return past

    def _next(
        self, past: Past | None, batch: int, tokens: int, mask: Tensor | None
    ) -> list[SegmentLayout | StepLayout]:
        """Return the layouts that the layers take in turn for tokens that come after a past."""
        cache = past.self_attention_cache if isinstance(past, SimMIMEncoderDecoderCache) else past
        assert cache is not None
        layouts: list[SegmentLayout | StepLayout] = []
        for number, layer in enumerate(cache.layers[: 2 if self.config.segment_shift else 1]):
            cache.prefetch(number)
            assert isinstance(layer, SimMIMCacheLayer) and layer.past is not None
            layer.past.check_batch(batch, "past_key_values")
            layouts.append(layer.past.layout(tokens, mask))
        return layouts

    def _memory(
        self, encoder_hidden_states: Tensor | None, mask: Tensor | None, batch: int, past: Past | None
    ) -> tuple[Tensor, Tensor | None] | None:
        """Make the memory of the encoder's output, unless there is none or every layer has read it before."""
        if self.memory is None or (isinstance(past, SimMIMEncoderDecoderCache) and past.is_updated[len(past) - 1]):
            return None
        if encoder_hidden_states is None:
            raise ShapeError("encoder_hidden_states: expected the encoder's output [B, N, E], got None")
        documents, tokens, _ = encoder_hidden_states.shape
        if batch % documents:
            raise ShapeError(
                f"decoder_input_ids: expected a row for each of {documents} documents, or the same number for each, "
                f"side by side; got {batch} rows"
            )
        if mask is not None:
            mask = check_attention_mask(mask, documents, tokens)
        made: tuple[Tensor, Tensor | None] = self.memory(encoder_hidden_states, mask)
        return made

    def _read(
        self, number: int, rows: int, memory: tuple[Tensor, Tensor | None] | None, past: Past | None
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Return what a layer's rows read of the memory, and its mask; made once for a whole generation."""

        def project() -> tuple[tuple[Tensor, ...], Tensor | None]:
            reader = self.layers[number].cross_attention
            assert memory is not None and isinstance(reader, CrossAttention)
            return reader.project_memory(*memory), memory[1]

        if isinstance(past, SimMIMEncoderDecoderCache):
            return past.remember(number, rows, project)
        return project() if self.memory is not None else ((), None)

    def _apply_layer(
        self, number: int, inputs: tuple[Any, ...], past: Past | None, maps: AttentionMaps | None
    ) -> Tensor:
        layer = self.layers[number]
        assert isinstance(layer, SimMIMDecoderLayer)
        hidden, memory, memory_mask, mask, layout = inputs
        options = {"memory_mask": memory_mask, "attention_mask": mask, "layout": layout, "maps": maps}
        if past is not None:
            cache = past.self_attention_cache if isinstance(past, SimMIMEncoderDecoderCache) else past
            cache.prefetch(number)
            kept = cache.layers[number]
            assert isinstance(kept, SimMIMCacheLayer)
            with called_once(layer):
                hidden, kept.past = layer(hidden, *memory, **options, past=kept.past, use_cache=True)
            cache.offload(number)
        elif maps is not None:
            with called_once(layer):
                hidden, _ = layer(hidden, *memory, **options)
        else:
            hidden, _ = layer(hidden, *memory, **options)
        return hidden
