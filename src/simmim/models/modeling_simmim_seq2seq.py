"""SimMIM from text to text: the encoder, and a causal SMI decoder that attends to its memory."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from simmim.errors import ConfigError, ShapeError
from simmim.models.cache_simmim import SimMIMEncoderDecoderCache
from simmim.models.checkpoint_stacks import DECODER, ENCODER
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.losses import IGNORED, check_labels, predict_tokens
from simmim.models.modeling_simmim import SimMIMModel, SimMIMPreTrainedModel
from simmim.models.modeling_simmim_decoder import SimMIMDecoder, SimMIMDecoderOutput
from simmim.models.transformers_hooks import Seq2SeqGenerationHooks
from simmim.nn.copy_head import CopyHead, Source
from simmim.nn.memory import readable
from simmim.ops.segments import check_attention_mask

__all__ = ["SimMIMForConditionalGeneration", "SimMIMSeq2SeqLMOutput"]


@dataclass
class SimMIMSeq2SeqLMOutput(Seq2SeqLMOutput):
    """What ``SimMIMForConditionalGeneration`` returns: transformers' output, and the maps that it has no field for.

    ``encoder_attentions`` and ``decoder_attentions`` are the segment maps, what tokens give to the tokens of their
    segment and its neighbours; ``cross_attentions`` are over the vectors of the memory.

    Attributes:
        encoder_state_attentions: of each layer ``[B, H, N, C]`` (broadcasts: ``[B, H, S, C]``) what tokens, or states,
            give to the states; None for a layer that reads no states.
        decoder_state_attentions: the same of the decoder.
    """

    encoder_state_attentions: tuple[Tensor | None, ...] | None = None
    decoder_state_attentions: tuple[Tensor | None, ...] | None = None


class SimMIMForConditionalGeneration(Seq2SeqGenerationHooks, SimMIMPreTrainedModel, GenerationMixin):
    """Encoder and decoder with a language-model head: summarization and translation.

    The decoder sees of the encoder what ``config.memory`` names: all tokens, the nodes of a pyramid over them, or for
    every query the tokens of the ``memory_top_k`` best segments. One embedding serves encoder, decoder and head unless
    ``tie_word_embeddings=False``.

    Args:
        config: its configuration.

    Raises:
        ConfigError: it asks for no decoder layer.
    """

    _no_split_modules = ["SimMIMEncoderLayer", "SimMIMDecoderLayer"]
    _stacks = frozenset({ENCODER, DECODER})
    _tied_weights_keys = {
        "decoder.embed_tokens.weight": "encoder.embed_tokens.weight",
        "lm_head.weight": "encoder.embed_tokens.weight",
    }

    def __init__(self, config: SimMIMConfig) -> None:
        config = copy.deepcopy(config)  # it may be that of another model, too
        config.is_encoder_decoder = True
        super().__init__(config)
        self.encoder = SimMIMModel(config, add_pooling_layer=False)
        self.decoder = SimMIMDecoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.copy_head = CopyHead(config.hidden_size) if config.copy_head else None
        self.post_init()

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
    ) -> SimMIMSeq2SeqLMOutput | tuple[Any, ...]:
        """Encode a batch of documents and predict the tokens of their targets.

        Args:
            input_ids: ``[B, N]`` int64 source tokens.
            attention_mask: ``[B, N]``, 1 for tokens and 0 for padding; None if all are tokens.
            decoder_input_ids: ``[R, T]`` target tokens so far; without them, ``labels`` moved right by one. R is B, or
                the same number for each document: its targets stand side by side and share its memory.
            decoder_attention_mask: ``[R, T]``.
            encoder_outputs: what the encoder returned, instead of ``input_ids``.
            past_key_values: the cache of an earlier call, which is filled further in place.
            inputs_embeds: ``[B, N, E]`` instead of ``input_ids``.
            decoder_inputs_embeds: ``[R, T, E]`` instead of ``decoder_input_ids``.
            labels: ``[R, T]`` int64 targets, -100 where no loss is wanted.
            use_cache: return a cache; by default as configured, and not while training.
            output_hidden_states: also return the output of every layer.
            output_attentions: also return the attention maps of every layer; of the decoder's self-attention after a
                past only the last token's.
            return_dict: False for a plain tuple.
            **kwargs: ``num_items_in_batch``, by which the Trainer wants the summed loss divided; ``skip_logits``: true
                where only the loss is wanted: logits are never kept, which saves memory and time. Others are ignored.

        Returns:
            ``loss`` (mean over the labels), ``logits [R, T, vocab_size]`` (with a copy head: logarithms of
            probabilities, float32), the cache, and what was asked for.
        """
        config = self.config
        wants_states, wants_maps, wants_dict = self._wanted(output_hidden_states, output_attentions, return_dict)
        cached = config.use_cache and not self.training and labels is None if use_cache is None else use_cache
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids,
                attention_mask,
                inputs_embeds=inputs_embeds,
                output_hidden_states=wants_states,
                output_attentions=wants_maps,
                return_dict=True,
            )
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            if labels.device.type == "cpu":  # in the words for labels; an accelerator would have to wait twice
                check_labels(labels, labels.shape, self.config.vocab_size)
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels.long())
        decoded = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs[0],
            attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            past_key_values=past_key_values,
            use_cache=cached,
            output_hidden_states=wants_states,
            output_attentions=wants_maps,
        )
        source = None
        if self.copy_head is not None:
            source_ids = getattr(encoder_outputs, "source_ids", None)
            source_ids = input_ids if source_ids is None else source_ids
            source = self._source(decoded, encoder_outputs[0], attention_mask, source_ids)
        hidden = decoded.last_hidden_state
        loss, logits = predict_tokens(self.lm_head, hidden, labels, kwargs, self.copy_head, source)
        output = _output(loss, logits, decoded, encoder_outputs, cached)
        return output if wants_dict else output.to_tuple()

    def _source(
        self, decoded: SimMIMDecoderOutput, memory: Tensor, attention_mask: Tensor | None, source_ids: Tensor | None
    ) -> Source:
        """Return what can be copied; keys and tokens are kept beside what the layers read of the memory."""
        head, past, hidden = self.copy_head, decoded.past_key_values, decoded.last_hidden_state
        assert head is not None and hidden is not None

        def project() -> tuple[tuple[Tensor, ...], Tensor | None]:
            if source_ids is None:
                raise ShapeError(
                    "input_ids: a model with copy_head=True copies source tokens and needs their ids, got none; "
                    "pass input_ids (or encoder_outputs as the encoder returned them), not inputs_embeds"
                )
            valid = None if attention_mask is None else check_attention_mask(attention_mask, *source_ids.shape)
            mask = None if valid is None else readable(valid)
            return (head.project_memory(memory, mask), source_ids), mask

        if isinstance(past, SimMIMEncoderDecoderCache):
            (keys, ids), mask = past.remember(self.config.num_decoder_layers, hidden.shape[0], project)
        else:
            (keys, ids), mask = project()
        return Source(keys, ids, mask)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Move labels right by one, behind the start token; -100 becomes padding."""
        start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
        if start is None or pad is None:
            raise ConfigError(
                f"decoder_start_token_id, pad_token_id: expected token ids, got {start} and {pad}; "
                "set them in the configuration"
            )
        first = labels.new_full((labels.shape[0], 1), start)
        return torch.cat((first, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, pad)), dim=1)


def _output(
    loss: Tensor | None,
    logits: Tensor | None,
    decoded: Any,
    encoder_outputs: BaseModelOutput | tuple[Any, ...],
    cached: bool,
) -> SimMIMSeq2SeqLMOutput:
    """Put together what ``forward`` returns; ``decoded`` is a ``SimMIMDecoderOutput``."""
    return SimMIMSeq2SeqLMOutput(
        loss=loss,
        logits=logits,
        past_key_values=decoded.past_key_values if cached else None,
        decoder_hidden_states=decoded.hidden_states,
        decoder_attentions=decoded.attentions,
        cross_attentions=decoded.cross_attentions,
        encoder_last_hidden_state=encoder_outputs[0],
        encoder_hidden_states=getattr(encoder_outputs, "hidden_states", None),
        encoder_attentions=getattr(encoder_outputs, "attentions", None),
        encoder_state_attentions=getattr(encoder_outputs, "state_attentions", None),
        decoder_state_attentions=decoded.state_attentions,
    )
