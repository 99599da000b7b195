"""The SimMIM encoder: embeddings, SMI layers on packed documents, and the pyramid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from simmim.errors import ConfigError
from simmim.models.checkpoint_stacks import ENCODER
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.layers_simmim import SimMIMEncoderLayer
from simmim.models.modeling_base import (
    SimMIMPreTrainedModel,
    keep_training_length,
    layouts_in_turn,
    one_of,
    segment_encoder,
    token_embedding,
)
from simmim.models.packed_documents import Packing
from simmim.models.transformers_hooks import called_once
from simmim.nn import HierarchicalEncoder
from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.hierarchy import Pyramid
from simmim.nn.tokenwise import RMSNorm, chunked_tokens
from simmim.ops.layout import SegmentLayout

__all__ = ["SimMIMModel", "SimMIMModelOutput", "SimMIMPreTrainedModel", "keep_training_length"]


@dataclass
class SimMIMModelOutput(ModelOutput):
    """What ``SimMIMModel`` returns.

    Attributes:
        last_hidden_state: ``[B, N, E]``, zero at padding.
        pooler_output: ``[B, E]`` mean over the positions of the global representation.
        global_representation: ``[B, L, E]`` the top of the pyramid, zero where a position does not exist.
        pyramid: all levels (``simmim.nn.Pyramid``); ``pyramid[b]`` is that of document b alone.
        source_ids: ``[B, N]`` the ids that were read, for a decoder that copies; None for ready embeddings.
        hidden_states: each ``[B, N, E]``: the embeddings, and the output of every layer.
        attentions: of every layer the segment map ``[B, H, N, K]`` (``simmim.nn.attention_maps``).
        state_attentions: of every layer the state map, ``[B, H, N, C]`` or ``[B, H, S, C]``; None for a layer that
            reads no states.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    global_representation: Tensor | None = None
    pyramid: Pyramid | None = None
    source_ids: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    state_attentions: tuple[Tensor | None, ...] | None = None


class SimMIMModel(SimMIMPreTrainedModel):
    """The encoder: token outputs, and a pyramid with one global representation of the document.

    Documents of a batch are packed one after the other, so padding costs nothing.

    Args:
        config: its configuration.
        add_pooling_layer: build the pyramid.
    """

    _no_split_modules = ["SimMIMEncoderLayer"]
    _stacks = frozenset({ENCODER})

    def __init__(self, config: SimMIMConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embed_tokens: nn.Embedding = token_embedding(config)
        self.layers = nn.ModuleList(
            SimMIMEncoderLayer(segment_encoder(config, i), config.intermediate_size, config.norm_eps, config.dropout)
            for i in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.hierarchy = HierarchicalEncoder(config.hidden_size, config.aggregator) if add_pooling_layer else None
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> SimMIMModelOutput | tuple[Any, ...]:
        """Encode a batch of documents.

        Args:
            input_ids: ``[B, N]`` int64.
            attention_mask: ``[B, N]``, 1 for tokens and 0 for padding, wherever it stands; None if all are tokens.
            inputs_embeds: ``[B, N, E]`` instead of ids.
            output_hidden_states: also return the output of every layer.
            output_attentions: also return the attention maps of every layer; costs N·K numbers a head and layer.
            return_dict: False for a plain tuple.
            **kwargs: ignored, for what transformers passes to every encoder.

        Raises:
            ShapeError: a shape is not as above.
            ConfigError: attention maps are asked for of layers that have no attention.
        """
        wants_states, wants_maps, wants_dict = self._wanted(output_hidden_states, output_attentions, return_dict)
        if wants_maps and self.config.segment_encoder != "smi":
            raise ConfigError(
                f"output_attentions: expected False with segment_encoder={self.config.segment_encoder!r}, got True: "
                "its layers have no attention; only 'smi' has"
            )
        given = one_of(input_ids, inputs_embeds)
        packing = Packing.of(attention_mask, *given.shape[:2])
        hidden = packing.pack(given)
        if inputs_embeds is None:
            hidden = self.embed_tokens(hidden)
        layouts = layouts_in_turn(self.config, hidden, packing.mask, lengths=packing.lengths)
        states: list[Tensor] | None = [] if wants_states else None
        maps = [AttentionMaps(packing.spread, packing.pack) for _ in self.layers] if wants_maps else None
        hidden = self._apply_layers(hidden, layouts, packing, states, maps)
        last = packing.spread(chunked_tokens(hidden, self.norm))
        pyramid = None
        if self.hierarchy is not None:
            first = layouts[0]
            pyramid = self.hierarchy(first.to_segments(packing.pack(last)), first.mask, first.counts, first.rows)
        output = SimMIMModelOutput(
            last_hidden_state=last,
            pooler_output=None if pyramid is None else pyramid.pooled,
            global_representation=None if pyramid is None else pyramid.global_representation,
            pyramid=pyramid,
            source_ids=input_ids,
            hidden_states=None if states is None else (*states, last),
            attentions=None if maps is None else tuple(of.kept["segment"] for of in maps),
            state_attentions=None if maps is None else tuple(of.kept.get("state") for of in maps),
        )
        return output if wants_dict else output.to_tuple()

    def _apply_layers(
        self,
        hidden: Tensor,
        layouts: list[SegmentLayout],
        packing: Packing,
        states: list[Tensor] | None,
        maps: list[AttentionMaps] | None,
    ) -> Tensor:
        """Apply all layers, whose inputs and maps are kept where there is a list for them."""
        for i, layer in enumerate(self.layers):
            if states is not None:
                # What is returned is what the next layer reads, so that it has a gradient.
                states.append(packing.spread(hidden))
                hidden = packing.pack(states[-1])
            layout = layouts[i % len(layouts)]
            if maps is None:
                hidden = layer(hidden, layout)
                continue
            with called_once(layer):
                hidden = layer(hidden, layout, maps[i])
        return hidden
