"""SimMIM as a causal language model: the decoder without a memory, and a head over the vocabulary."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from simmim.errors import ShapeError
from simmim.models.cache_simmim import SimMIMCache
from simmim.models.checkpoint_stacks import CAUSAL_DECODER
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.losses import IGNORED, check_labels, predict_tokens
from simmim.models.modeling_base import SimMIMPreTrainedModel, one_of
from simmim.models.modeling_simmim_decoder import SimMIMDecoder
from simmim.models.packed_documents import PackedDocuments, last_tokens
from simmim.models.transformers_hooks import CausalGenerationHooks
from simmim.nn.past_copy_head import Continuations, PastCopyHead
from simmim.ops.ngrams import NgramTable, find_continuations, step_continuations
from simmim.ops.segments import check_attention_mask

__all__ = ["SimMIMCausalLMOutput", "SimMIMForCausalLM"]


@dataclass
class SimMIMCausalLMOutput(CausalLMOutputWithPast):
    """What ``SimMIMForCausalLM`` returns: transformers' output, and the maps that it has no field for.

    ``attentions`` are the segment maps: what tokens give to the tokens of their segment and the one before.

    Attributes:
        state_attentions: of each layer ``[B, H, N, C]`` (broadcasts: ``[B, H, S, C]``) what tokens, or states, give to
            the states of finished segments; None for a layer that reads no states.
    """

    state_attentions: tuple[Tensor | None, ...] | None = None


class SimMIMForCausalLM(CausalGenerationHooks, SimMIMPreTrainedModel, GenerationMixin):
    """``num_hidden_layers`` causal SMI layers with a language-model head: text continued, dialogue.

    Embedding and head share their weights unless ``tie_word_embeddings=False``. The decoding cache holds the segments
    that tokens still read in full, a state for each segment before, and a table of constant size for the copy head,
    which repeats what followed the same tokens before (``nn.PastCopyHead``, decision 0014; not with
    ``copy_head=False``). Vectors (``inputs_embeds``) have no ids: what they stand for is not copied.

    Args:
        config: its configuration.

    Raises:
        ConfigError: it asks for no layers.
    """

    base_model_prefix = "decoder"
    _no_split_modules = ["SimMIMDecoderLayer"]
    _stacks = frozenset({CAUSAL_DECODER})
    _tied_weights_keys = {"lm_head.weight": "decoder.embed_tokens.weight"}

    def __init__(self, config: SimMIMConfig) -> None:
        config = copy.deepcopy(config)  # it may be that of another model, too
        config.is_encoder_decoder = False
        super().__init__(config)
        self.decoder = SimMIMDecoder(config, with_memory=False)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.copy_head = None if config.copy_head is False else PastCopyHead(config.hidden_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> SimMIMCausalLMOutput | tuple[Any, ...]:
        """Predict the token after every token.

        Args:
            input_ids: ``[B, N]`` int64; after a past only the tokens that are new.
            attention_mask: ``[B, N]`` for past and new tokens, 1 for tokens and 0 for padding, wherever it stands;
                None if all are tokens.
            past_key_values: the cache of an earlier call, which is filled further in place.
            inputs_embeds: ``[B, N, E]`` instead of ``input_ids``.
            labels: ``[B, N]`` int64, the input ids with -100 where no loss is wanted; shifted by one here.
                ``shift_labels`` are taken instead, if there are any.
            use_cache: return a cache; by default as configured, and not while training.
            output_hidden_states: also return the output of every layer.
            output_attentions: also return the attention maps of every layer; after a past only the last token's.
            logits_to_keep: compute logits (and the loss) only for this many last tokens, or at these indices ``[K]``;
                0 for all.
            return_dict: False for a plain tuple.
            **kwargs: ``position_ids [B, N]`` or ``cu_seq_lens_q [D + 1]`` of rows that hold several documents, as
                ``DataCollatorWithFlattening`` packs them: no document reads another, nor predicts another's first
                token. Positions begin with 0 in every document; after a past they follow from the cache.
                ``shift_labels [B, N]``: labels that were shifted before, of a text that is cut into shards: the loss
                is of these. ``num_items_in_batch``, by which the Trainer wants the summed loss divided.
                ``skip_logits``: true where only the loss is wanted: logits are never kept, which saves memory and time.
                Others are ignored.

        Returns:
            ``loss`` (mean over the labels), ``logits [B, N, vocab_size]`` (at padding those of the token before it, so
            that a text can be continued wherever its padding stands; those of what the copy head found are raised),
            the cache, and what was asked for.

        Raises:
            ShapeError: a shape or a value is not as above, or packed documents come with a cache.
        """
        config = self.config
        wants_states, wants_maps, wants_dict = self._wanted(output_hidden_states, output_attentions, return_dict)
        moved: Tensor | None = kwargs.get("shift_labels")
        learns = self.training or labels is not None or moved is not None
        cached = config.use_cache and not learns if use_cache is None else use_cache
        documents = self._documents(one_of(input_ids, inputs_embeds), attention_mask, past_key_values, kwargs)
        cached = cached and (documents is None or use_cache is not None)
        if documents is not None and (cached or past_key_values is not None):
            raise ShapeError(
                f"use_cache: expected False for rows of several documents ({len(documents.lengths)} of them in "
                f"{len(documents.begins)} rows), which cannot be gone on with; give each document a row of its own"
            )
        decoded = self.decoder(
            input_ids,
            attention_mask,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            use_cache=cached,
            output_hidden_states=wants_states,
            output_attentions=wants_maps,
            documents=documents,
        )
        hidden = decoded.last_hidden_state
        found = None
        if self.copy_head is not None:
            found = self._continuations(input_ids, hidden, attention_mask, documents, decoded.past_key_values)
        labels = _next_labels(labels, moved, documents, (*hidden.shape[:2], config.vocab_size))
        loss, logits = self._predict(hidden, found, labels, attention_mask, logits_to_keep, kwargs)
        output = SimMIMCausalLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=decoded.past_key_values if cached else None,
            hidden_states=decoded.hidden_states,
            attentions=decoded.attentions,
            state_attentions=decoded.state_attentions,
        )
        return output if wants_dict else output.to_tuple()

    def _predict(
        self,
        hidden: Tensor,
        found: Tensor | None,
        labels: Tensor | None,
        attention_mask: Tensor | None,
        logits_to_keep: int | Tensor,
        options: dict[str, Any],
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return loss and logits of the tokens that are kept; at padding, those of the token before it."""
        if attention_mask is not None and (hidden.shape[1] > 1 or labels is not None):
            last = last_tokens(attention_mask[:, -hidden.shape[1] :].bool())
            hidden, begun = _at_tokens(hidden, last), last >= 0
            found = None if found is None else _at_tokens(found, last)
            labels = None if labels is None else labels.masked_fill(~begun, IGNORED)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return predict_tokens(
            self.lm_head,
            hidden[:, kept],
            None if labels is None else labels[:, kept],
            options,
            self.copy_head,
            None if found is None else Continuations(found[:, kept]),
        )

    def _continuations(
        self,
        ids: Tensor | None,
        hidden: Tensor,
        attention_mask: Tensor | None,
        documents: PackedDocuments | None,
        past: Cache | None,
    ) -> Tensor:
        """Return what the copy head may copy after each token ``[B, N, C]``, and put these tokens into the cache."""
        batch, tokens = hidden.shape[:2]
        ids = hidden.new_full((batch, tokens), -1, dtype=torch.long) if ids is None else ids.long()
        real = None if attention_mask is None else check_attention_mask(attention_mask[:, -tokens:], batch, tokens)
        if past is None:
            return find_continuations(ids, real, None if documents is None else documents.begins)
        assert isinstance(past, SimMIMCache)
        if past.continuations is None:
            past.continuations = NgramTable.empty(batch)
        if tokens == 1:
            return step_continuations(ids[:, 0], past.continuations, None if real is None else real[:, 0])[:, None]
        return find_continuations(ids, real, table=past.continuations)

    # Positions are not among forward's own arguments: ``generate`` would make and grow a row of them for every token.
    @staticmethod
    def _documents(
        given: Tensor, attention_mask: Tensor | None, past: Cache | None, kwargs: dict[str, Any]
    ) -> PackedDocuments | None:
        """Return the documents of rows that hold several."""
        found = {name: kwargs.get(name) for name in ("position_ids", "cu_seq_lens_q")}
        if past is not None and past.get_seq_length() > 0:
            found["position_ids"] = None
        if all(value is None for value in found.values()):
            return None
        batch, tokens = given.shape[:2]
        mask = None if attention_mask is None else check_attention_mask(attention_mask, batch, tokens)
        return PackedDocuments.find(batch, tokens, mask=mask, **found)


def _next_labels(
    labels: Tensor | None, moved: Tensor | None, documents: PackedDocuments | None, sizes: tuple[int, int, int]
) -> Tensor | None:
    """Return what every token is to predict, the token after it, but not the first one of another document.

    Args:
        labels: ``[B, N]`` those of the tokens themselves.
        moved: ``[B, N]`` those of the tokens after them, which take precedence.
        documents: of rows that hold several.
        sizes: B, N and V.
    """
    if labels is None and moved is None:
        return None
    given = labels if moved is None else moved
    assert given is not None
    # an accelerator would have to wait twice
    if documents is not None or moved is not None or given.device.type == "cpu":
        check_labels(given, sizes[:2], sizes[2], "" if moved is None else "shift_")
    if moved is None:
        given = F.pad(given, (0, 1), value=IGNORED)[:, 1:]
    return given if documents is None else given.masked_fill(F.pad(documents.begins, (0, 1))[:, 1:], IGNORED)


def _at_tokens(rows: Tensor, index: Tensor) -> Tensor:
    """Return the rows ``[B, N, ...]`` at these indices, and the first one where an index is negative."""
    return rows.gather(1, index.clamp(min=0)[..., None].expand_as(rows))
