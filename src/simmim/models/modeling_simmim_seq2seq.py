"""SimMIM from text to text: the encoder, and a causal SMI decoder that attends to its tokens."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPastAndCrossAttentions, Seq2SeqLMOutput

from simmim.errors import ConfigError, ShapeError
from simmim.models.cache_simmim import SimMIMCache, SimMIMCacheLayer
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.modeling_simmim import SimMIMModel, SimMIMPreTrainedModel, embed, layer_attention, refuse_attentions
from simmim.nn.block import DecoderBlock
from simmim.nn.copy_head import CopyHead
from simmim.ops.segments import SegmentLayout, check_attention_mask

__all__ = ["SimMIMDecoder", "SimMIMForConditionalGeneration"]


class SimMIMDecoder(SimMIMPreTrainedModel):
    """A stack of causal SMI layers that attend to a memory."""

    def __init__(self, config: SimMIMConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderBlock(
                layer_attention(config, i, causal=True), config.intermediate_size, config.norm_eps, config.dropout
            )
            for i in range(config.num_decoder_layers)
        )
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        use_cache: bool = False,
        output_hidden_states: bool = False,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Decode whole texts, or the tokens that come after a past.

        Args:
            input_ids: ``[B, M]`` int64; or ``inputs_embeds [B, M, E]``.
            attention_mask: ``[B, M]`` or longer, for past and new tokens.
            encoder_hidden_states: ``[B, N, E]`` the memory.
            encoder_attention_mask: ``[B, N]``.
            inputs_embeds: instead of ids.
            past_key_values: what came before, filled further in place.
            use_cache: return the cache.
            output_hidden_states: also return the output of every layer.
        """
        hidden = embed(self.embed_tokens, input_ids, inputs_embeds)
        batch, tokens, _ = hidden.shape
        mask = None if attention_mask is None else check_attention_mask(attention_mask[:, -tokens:], batch, tokens)
        if encoder_hidden_states is None:
            raise ShapeError("encoder_hidden_states: expected the encoder's output [B, N, E], got None")
        memory_mask = _memory_mask(encoder_attention_mask, batch, encoder_hidden_states.shape[1])
        checkpointing = self.gradient_checkpointing and self.training
        if use_cache and past_key_values is None and not checkpointing:
            past_key_values = EncoderDecoderCache(SimMIMCache(len(self.layers)), DynamicCache())
        layouts = self._layouts(mask, batch, tokens, hidden.device)
        states = [hidden]
        for i, layer in enumerate(self.layers):
            layout = layouts[i % len(layouts)]
            memory = self._memory(i, encoder_hidden_states, past_key_values)
            if checkpointing:
                hidden, _ = self._gradient_checkpointing_func(layer.__call__, hidden, memory, memory_mask, mask, layout)
            elif past_key_values is None:
                hidden, _ = layer(hidden, memory, memory_mask, mask, layout)
            else:
                kept = past_key_values.self_attention_cache.layers[i]
                assert isinstance(kept, SimMIMCacheLayer)
                hidden, kept.past = layer(hidden, memory, memory_mask, mask, layout, kept.past, use_cache=True)
            states.append(hidden)
        states[-1] = self.norm(hidden)
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=states[-1],
            past_key_values=past_key_values,
            hidden_states=tuple(states) if output_hidden_states else None,
        )

    def _layouts(self, mask: Tensor | None, batch: int, tokens: int, device: torch.device) -> list[SegmentLayout]:
        shifts = [0, self.config.segment_shift] if self.config.segment_shift else [0]
        return [
            SegmentLayout.build(
                batch,
                tokens,
                self.config.segment_length,
                attention_mask=mask,
                segment_shift=shift,
                causal=True,
                device=device,
            )
            for shift in shifts
        ]

    def _memory(
        self, layer: int, encoder_hidden_states: Tensor, past: EncoderDecoderCache | None
    ) -> tuple[Tensor, Tensor]:
        """Return the layer's keys and values of the memory, projected once for a whole generation."""
        block = self.layers[layer]
        assert isinstance(block, DecoderBlock)
        if past is None:
            return block.cross_attention.project_memory(encoder_hidden_states)
        if past.is_updated.get(layer):
            kept = past.cross_attention_cache.layers[layer]
            assert isinstance(kept, DynamicLayer) and kept.keys is not None and kept.values is not None
            return kept.keys, kept.values
        keys, values = past.cross_attention_cache.update(
            *block.cross_attention.project_memory(encoder_hidden_states), layer
        )
        past.is_updated[layer] = True
        return keys, values


class SimMIMForConditionalGeneration(SimMIMPreTrainedModel, GenerationMixin):
    """Encoder and decoder with a language-model head: summarisation and translation.

    The decoder sees all of the encoder's tokens. One embedding serves encoder, decoder and head
    unless ``tie_word_embeddings=False``.
    """

    _tied_weights_keys = {
        "decoder.embed_tokens.weight": "encoder.embed_tokens.weight",
        "lm_head.weight": "encoder.embed_tokens.weight",
    }

    def __init__(self, config: SimMIMConfig) -> None:
        config.is_encoder_decoder = True
        super().__init__(config)
        if config.num_decoder_layers < 1:
            raise ConfigError(f"num_decoder_layers: expected 1 or more for a decoder, got {config.num_decoder_layers}")
        self.encoder = SimMIMModel(config, add_pooling_layer=False)
        self.decoder = SimMIMDecoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.copy_head = CopyHead(config.hidden_size) if config.copy_head else None
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's token embedding."""
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding of encoder and decoder."""
        assert isinstance(value, nn.Embedding)
        self.encoder.set_input_embeddings(value)
        self.decoder.embed_tokens = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Any, ...] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput | tuple[Any, ...]:
        """Encode a batch of documents and predict the tokens of their targets.

        Args:
            input_ids: ``[B, N]`` int64 source tokens.
            attention_mask: ``[B, N]``, 1 for tokens and 0 for padding; None if all are tokens.
            decoder_input_ids: ``[B, M]`` target tokens so far; without them, ``labels`` moved right by one.
            decoder_attention_mask: ``[B, M]``.
            encoder_outputs: what the encoder returned, instead of ``input_ids``.
            past_key_values: the cache of an earlier call.
            inputs_embeds: ``[B, N, E]`` instead of ``input_ids``.
            decoder_inputs_embeds: ``[B, M, E]`` instead of ``decoder_input_ids``.
            labels: ``[B, M]`` int64 targets, -100 where no loss is wanted.
            use_cache: return a cache; by default as configured, and not while training.
            output_hidden_states: also return the output of every layer.
            output_attentions: not offered; True is refused.
            return_dict: False for a plain tuple.
            **kwargs: ``num_items_in_batch``, by which the Trainer wants the summed loss divided; others are ignored.

        Returns:
            ``loss`` (mean over the labels), ``logits [B, M, vocab_size]`` (with a copy head: logarithms of
            probabilities, float32), the cache, and what was asked for.
        """
        refuse_attentions(output_attentions)
        wants_all = bool(self.config.output_hidden_states if output_hidden_states is None else output_hidden_states)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids, attention_mask, inputs_embeds=inputs_embeds, output_hidden_states=wants_all, return_dict=True
            )
        memory = encoder_outputs[0]
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        cached = self.config.use_cache and not self.training and labels is None if use_cache is None else use_cache
        if past_key_values is not None and not isinstance(past_key_values, EncoderDecoderCache):
            raise ShapeError(
                "past_key_values: expected the EncoderDecoderCache that an earlier call returned, "
                f"got {type(past_key_values).__name__}"
            )
        decoded = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            memory,
            attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            past_key_values=past_key_values,
            use_cache=cached,
            output_hidden_states=wants_all,
        )
        logits = self.lm_head(decoded.last_hidden_state)
        if self.copy_head is not None:
            source_ids = getattr(encoder_outputs, "source_ids", input_ids)
            logits = self._copy(decoded, logits, memory, attention_mask, source_ids)
        output = Seq2SeqLMOutput(
            loss=None if labels is None else _loss(logits, labels, kwargs.get("num_items_in_batch")),
            logits=logits,
            past_key_values=decoded.past_key_values if cached else None,
            decoder_hidden_states=decoded.hidden_states,
            encoder_last_hidden_state=memory,
            encoder_hidden_states=getattr(encoder_outputs, "hidden_states", None),
        )
        wants_dict = self.config.return_dict if return_dict is None else return_dict
        return output if wants_dict else output.to_tuple()

    def _copy(
        self,
        decoded: BaseModelOutputWithPastAndCrossAttentions,
        logits: Tensor,
        memory: Tensor,
        attention_mask: Tensor | None,
        source_ids: Tensor | None,
    ) -> Tensor:
        """Mix in the source's tokens; their keys are kept beside the decoder layers' keys of the memory."""
        assert self.copy_head is not None
        if source_ids is None:
            raise ShapeError(
                "input_ids: a model with copy_head=True copies source tokens and needs their ids, got none; "
                "pass input_ids (or encoder_outputs as the encoder returned them), not inputs_embeds"
            )
        mask = _memory_mask(attention_mask, *source_ids.shape)
        layer, past = self.config.num_decoder_layers, decoded.past_key_values
        if isinstance(past, EncoderDecoderCache) and past.is_updated.get(layer):
            kept = past.cross_attention_cache.layers[layer]
            assert isinstance(kept, DynamicLayer) and kept.keys is not None
            keys = kept.keys[:, 0]
        else:
            keys = self.copy_head.project_memory(memory, mask)
            if isinstance(past, EncoderDecoderCache):
                past.cross_attention_cache.update(keys[:, None], keys[:, None, :, :0], layer)
                past.is_updated[layer] = True
        mixed: Tensor = self.copy_head(decoded.last_hidden_state, logits, keys, source_ids, mask)
        return mixed

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Move labels right by one, behind the start token; -100 becomes padding."""
        start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
        if start is None or pad is None:
            raise ConfigError(
                f"decoder_start_token_id, pad_token_id: expected token ids, got {start} and {pad}; "
                "set them in the configuration"
            )
        first = labels.new_full((len(labels), 1), start)
        return torch.cat((first, labels[:, :-1].masked_fill(labels[:, :-1] == -100, pad)), dim=1)


def _memory_mask(attention_mask: Tensor | None, batch: int, tokens: int) -> Tensor | None:
    """Return which memory vectors a decoder may read: of a document without tokens its zeros, so nothing is NaN."""
    if attention_mask is None:
        return None
    mask = check_attention_mask(attention_mask, batch, tokens)
    return mask | ~mask.any(1, keepdim=True)


def _loss(logits: Tensor, labels: Tensor, num_items: Tensor | int | None) -> Tensor:
    """Return the mean cross-entropy in float32; ``num_items`` is the divisor of a batch that comes in parts."""
    summed = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100, reduction="sum")
    count = (labels != -100).sum() if num_items is None else torch.as_tensor(num_items, device=summed.device)
    return summed / count.clamp(min=1)
