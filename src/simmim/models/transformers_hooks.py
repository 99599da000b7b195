"""All that depends on private parts of transformers: hooks of ``generate``, of initialisation and of checkpointing.

A new version of transformers is checked against this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from simmim.errors import ShapeError
from simmim.models.cache_simmim import SimMIMCache
from simmim.models.prompts import checked_prompt

__all__ = ["CausalGenerationHooks", "InitialisationHooks", "Seq2SeqGenerationHooks", "called_once"]

PREFILL_CHUNK = 1 << 14
"""Tokens of a prompt that ``generate`` reads at once, unless ``prefill_chunk_size`` says otherwise."""
_OF_DOCUMENTS = ("attention_mask", "encoder_outputs", "inputs_embeds")
"""Arguments of ``forward`` that hold documents while their targets are decoded."""


@contextmanager
def called_once(layer: nn.Module) -> Iterator[None]:
    """Keep what a layer computes for a while, rather than compute it again: it fills a cache, or shows its maps."""
    assert isinstance(layer, GradientCheckpointingLayer)
    before = layer.gradient_checkpointing
    layer.gradient_checkpointing = False
    try:
        yield
    finally:
        layer.gradient_checkpointing = before


class InitialisationHooks(PreTrainedModel):
    """Lets transformers initialise modules that have no parameters of their own."""

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        # Where code is not its own, transformers passes over modules without direct parameters (StateFFN, Concat), lest
        # what was loaded be overwritten; the functions that ``_init_weights`` calls see to that themselves.
        super()._initialize_weights(module, is_custom_code=False)


class _GenerationHooks(GenerationMixin):
    """What both ways of generating ask of transformers."""

    _is_stateful = True  # what a window overwrote is gone, so drafts of assisted generation cannot be taken back

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False


class CausalGenerationHooks(_GenerationHooks):
    """What ``generate`` asks of a language model: the prompt, the cache, and how it is read."""

    def _prepare_model_inputs(
        self, inputs: Tensor | None = None, bos_token_id: Tensor | None = None, model_kwargs: Any = None
    ) -> Any:
        """Find the prompt, and refuse an empty one before it is looked into."""
        found = cast(Any, GenerationMixin._prepare_model_inputs)(self, inputs, bos_token_id, model_kwargs)
        if found[0].shape[1] == 0:
            raise ShapeError(
                f"{found[1]}: expected a prompt of one token or more, got {list(found[0].shape)}; begin it with bos"
            )
        return found

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Give generation our cache."""
        # transformers types self as a protocol that no model is.
        found = cast(Any, GenerationMixin._prepare_cache_for_generation)(
            self, generation_config, model_kwargs, *args, **kwargs
        )
        if generation_config.use_cache and model_kwargs.get("past_key_values") is None:
            model_kwargs["past_key_values"] = SimMIMCache(len(cast(Any, self).decoder.layers))
        return found

    def _prefill(
        self,
        input_ids: Tensor,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        is_first_iteration: bool = True,
    ) -> Any:
        """Check the prompt, and have a long one read part by part, so that its memory is bounded."""
        cached, mask = generation_config.use_cache, model_kwargs.get("attention_mask")
        prompt, prefill = dict(model_kwargs), cast(Any, GenerationMixin._prefill)
        if model_kwargs.get("inputs_embeds") is None:
            if cached and not (generation_config.output_attentions or generation_config.output_hidden_states):
                # Else what is returned of every token has to come from one pass.
                generation_config.prefill_chunk_size = generation_config.prefill_chunk_size or PREFILL_CHUNK
            # transformers leaves out a mask without padding.
            covered = getattr(generation_config, "_mask_length", -1) if mask is None else mask.shape[1]
            in_parts = cached and generation_config.prefill_chunk_size is not None
            input_ids = checked_prompt(input_ids, prompt, covered, align=in_parts)
        output = prefill(self, input_ids, generation_config, prompt, is_first_iteration)
        if cached:
            # What is generated is no padding, and the cache knows where that of the prompt was.
            model_kwargs["attention_mask"] = None
        return output

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Repeat, for beams and samples, the documents of a cache, too."""
        cache = kwargs.get("past_key_values")
        if expand_size > 1 and isinstance(cache, SimMIMCache):
            cache.batch_repeat_interleave(expand_size)
        expand = cast(Any, GenerationMixin._expand_inputs_for_generation)
        return expand(self, expand_size, is_encoder_decoder, input_ids, **kwargs)


class Seq2SeqGenerationHooks(_GenerationHooks):
    """What ``generate`` asks of an encoder with a decoder, and what resizing its two embeddings does."""

    def _resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        model: Any = self  # which is a model, too
        own = None
        if not model.config.tie_word_embeddings:  # the decoder's rows are its own, not the encoder's
            own = model._get_resized_embeddings(model.decoder.embed_tokens, *args, **kwargs)
        resized = cast(Any, super())._resize_token_embeddings(*args, **kwargs)
        if own is not None:
            model.decoder.embed_tokens = own
        return resized

    def _expand_inputs_for_generation(self, *args: Any, **kwargs: Any) -> Any:
        """Repeat what is decoded, but not the documents: the beams and samples of one share its memory."""
        documents = {name: kwargs.pop(name) for name in _OF_DOCUMENTS if name in kwargs}
        expand: Any = GenerationMixin._expand_inputs_for_generation  # declared for models of another type
        decoder_input_ids, decoding = expand(self, *args, **kwargs | {"is_encoder_decoder": False})
        return decoder_input_ids, decoding | documents
