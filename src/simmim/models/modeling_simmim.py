"""The SimMIM encoder: embeddings, SMI layers on packed documents, and the pyramid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from simmim.errors import ConfigError, ShapeError
from simmim.models.checkpoint_stacks import ENCODER, check_stacks
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.layers_simmim import SimMIMEncoderLayer, called_once
from simmim.models.packed_documents import pack_tokens, spread_tokens
from simmim.nn import HierarchicalEncoder, SMIAttention
from simmim.nn.aggregators import Aggregator, Attention, Concat, WeightedSum
from simmim.nn.attend import AttendAttention
from simmim.nn.attention_maps import AttentionMaps
from simmim.nn.decoding_weights import as_trained
from simmim.nn.hierarchy import Pyramid
from simmim.nn.memory import Memory
from simmim.nn.states import StatePooling
from simmim.nn.token_embedding import TokenEmbedding
from simmim.nn.tokenwise import RMSNorm, chunked_tokens
from simmim.nn.variants.broadcast import GatedBroadcastAttention, StateFFN
from simmim.nn.variants.poolings import AttentionPooling
from simmim.nn.variants.segment_encoders import SEGMENT_ENCODERS, SegmentEncoder
from simmim.ops.layout import SegmentLayout
from simmim.ops.segments import check_attention_mask

__all__ = [
    "SimMIMModel",
    "SimMIMModelOutput",
    "SimMIMPreTrainedModel",
    "keep_training_length",
    "layer_attention",
    "layouts_in_turn",
    "one_of",
    "token_embedding",
]


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


VARIANTS = (Aggregator, Memory, SegmentEncoder, StatePooling)
"""What users add classes of their own to."""


class SimMIMPreTrainedModel(PreTrainedModel):
    """Loads, saves and initialises every SimMIM model."""

    config_class = SimMIMConfig
    config: SimMIMConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _stacks: frozenset[str] = frozenset()
    """What the class consists of, and a checkpoint must hold (``simmim.models.checkpoint_stacks``)."""
    _known: dict[str, frozenset[str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls._stacks:
            cls._known[cls.__name__] = cls._stacks

    def __init__(self, config: SimMIMConfig) -> None:
        config.check()  # what was changed after it was made, too
        super().__init__(config)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, output_loading_info: bool = False, **kwargs: Any
    ) -> Any:
        """Load a model as ``PreTrainedModel`` does; see there.

        Raises:
            CheckpointError: the weights are of a class without an encoder, or decoder, that this one has.
        """
        load: Any = super().from_pretrained  # whose type says that it returns a model alone
        model, report = load(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        weights, named = model.state_dict().keys(), model.config.architectures or ()
        saved = pretrained_model_name_or_path or "state_dict"
        check_stacks(saved, cls.__name__, cls._stacks, named, cls._known, weights, report["missing_keys"])
        return (model, report) if output_loading_info else model

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Do nothing: what is saved names the classes of the package (``simmim_auto``), not copies of their files."""

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save the model as ``PreTrainedModel`` does, however its weights lie (``lay_out_for_decoding``)."""
        with as_trained(self):
            super().save_pretrained(*args, **kwargs)

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        # Where code is not its own, transformers passes over modules without direct parameters (StateFFN, Concat), lest
        # what was loaded be overwritten; the functions that ``_init_weights`` calls see to that themselves.
        super()._initialize_weights(module, is_custom_code=False)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, StateFFN):
            init.zeros_(module.down.weight)
        elif isinstance(module, AttentionPooling):
            init.zeros_(module.query)
        elif isinstance(module, WeightedSum):
            init.zeros_(module.logits)
        elif isinstance(module, Concat):
            init.copy_(module.merge.weight, module.start())
        elif isinstance(module, Attention):
            assert self.config.initializer_range is not None  # the configuration has put a number there
            init.normal_(module.side, std=self.config.initializer_range)
            init.zeros_(module.o_proj.weight)
        elif isinstance(module, nn.LSTM):
            for weight in module.parameters():
                init.uniform_(weight, -(module.hidden_size**-0.5), module.hidden_size**-0.5)
        elif isinstance(module, SMIAttention):
            if module.state_null is not None:
                init.zeros_(module.state_null)
            if isinstance(module, GatedBroadcastAttention):
                init.constant_(module.state_gate, GatedBroadcastAttention.START)
            if getattr(module, "sharpness", None) is not None:
                init.constant_(module.sharpness, AttendAttention.SHARPNESS)
        elif isinstance(module, VARIANTS):
            # A user's own variant may say what its parameters start as; ours are above.
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()


def layer_attention(config: SimMIMConfig, layer: int, *, causal: bool) -> SMIAttention:
    """Build the attention of one layer."""
    return SMIAttention.of(config.attention_options(layer, causal=causal))


def keep_training_length(model: PreTrainedModel, tokens: int) -> None:
    """Put into a model's configuration, and its layers, that it learns from texts of so many tokens at most."""
    config = model.config
    assert isinstance(config, SimMIMConfig)
    config.training_length = max(tokens, config.training_length or 0)
    for module in model.modules():
        if isinstance(module, SMIAttention):
            module.trained_states = config.trained_states


def token_embedding(config: SimMIMConfig) -> TokenEmbedding:
    """Build the embedding of encoder or decoder."""
    scale = config.hidden_size**0.5 if config.scale_embedding else 1.0
    return TokenEmbedding(config.vocab_size, config.hidden_size, scale)


def _segment_encoder(config: SimMIMConfig, layer: int) -> nn.Module:
    """Build what one encoder layer does with its segments."""
    if config.segment_encoder == "smi":
        return layer_attention(config, layer, causal=False)
    return SEGMENT_ENCODERS.find(config.segment_encoder)(config.hidden_size)


def layouts_in_turn(
    config: SimMIMConfig, hidden: Tensor, mask: Tensor | None, *, lengths: Tensor | None = None, causal: bool = False
) -> list[SegmentLayout]:
    """Return the layouts that the layers take in turn.

    Args:
        config: says how long segments are, and how far every other layer's borders move.
        hidden: ``[B, N, E]`` what is to be cut.
        mask: ``[B, N]`` true for tokens; None if all are.
        lengths: ``[D]`` tokens of the documents that stand one after the other in ``hidden``; None if each has a row.
        causal: for a decoder.
    """
    length, shifts = config.segment_length, [0, config.segment_shift] if config.segment_shift else [0]
    if lengths is not None:
        return [SegmentLayout.packed(lengths, length, segment_shift=shift, causal=causal) for shift in shifts]
    device, (batch, tokens, _) = hidden.device, hidden.shape
    return [
        SegmentLayout.build(
            batch, tokens, length, attention_mask=mask, segment_shift=shift, causal=causal, device=device
        )
        for shift in shifts
    ]


def one_of(input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
    """Return token ids ``[B, N]`` or ready embeddings ``[B, N, E]``, exactly one of which must be given."""
    if (input_ids is None) == (inputs_embeds is None):
        raise ShapeError(
            "input_ids, inputs_embeds: expected exactly one of them, got "
            + ("neither" if input_ids is None else "both")
        )
    if inputs_embeds is not None:
        return inputs_embeds
    assert input_ids is not None
    if input_ids.dim() != 2:
        raise ShapeError(
            f"input_ids: expected [batch, tokens], got {list(input_ids.shape)}; add a batch dimension with [None]"
        )
    return input_ids


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
            SimMIMEncoderLayer(_segment_encoder(config, i), config.intermediate_size, config.norm_eps, config.dropout)
            for i in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.hierarchy = HierarchicalEncoder(config.hidden_size, config.aggregator) if add_pooling_layer else None
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        assert isinstance(value, nn.Embedding)
        self.embed_tokens = value

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
        wants_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        wants_maps = self.config.output_attentions if output_attentions is None else output_attentions
        if wants_maps and self.config.segment_encoder != "smi":
            raise ConfigError(
                f"output_attentions: expected False with segment_encoder={self.config.segment_encoder!r}, got True: "
                "its layers have no attention; only 'smi' has"
            )
        given = one_of(input_ids, inputs_embeds)
        packing = _Packing.of(attention_mask, *given.shape[:2])
        hidden = packing.pack(given)
        if inputs_embeds is None:
            hidden = self.embed_tokens(hidden)
        layouts = layouts_in_turn(self.config, hidden, packing.mask, lengths=packing.lengths)
        states, maps = [], []
        for i, layer in enumerate(self.layers):
            if wants_states:
                # What is returned is what the next layer reads, so that it has a gradient.
                states.append(packing.spread(hidden))
                hidden = packing.pack(states[-1])
            layout = layouts[i % len(layouts)]
            if wants_maps:
                maps.append(AttentionMaps(packing.spread, packing.pack))
                with called_once(layer):
                    hidden = layer(hidden, layout, maps[-1])
            else:
                hidden = layer(hidden, layout)
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
            hidden_states=(*states, last) if wants_states else None,
            attentions=tuple(kept.kept["segment"] for kept in maps) if wants_maps else None,
            state_attentions=tuple(kept.kept.get("state") for kept in maps) if wants_maps else None,
        )
        wants_dict = self.config.return_dict if return_dict is None else return_dict
        return output if wants_dict else output.to_tuple()


@dataclass(frozen=True)
class _Packing:
    """Puts the documents of a batch one after the other, without their padding, and back.

    Attributes:
        mask: ``[B, N]`` which tokens exist; None if all do.
        packs: the documents are packed; under ``torch.compile``, where no shape may depend on the mask, padding stays.
        place: ``[T]`` where the packed tokens stand in the batch; None if nothing moves.
    """

    mask: Tensor | None
    packs: bool
    place: Tensor | None = None

    @classmethod
    def of(cls, attention_mask: Tensor | None, batch: int, tokens: int) -> _Packing:
        """Look at a batch's mask."""
        mask = None if attention_mask is None else check_attention_mask(attention_mask, batch, tokens)
        if torch.compiler.is_compiling():
            return cls(mask, packs=False)
        if mask is None or bool(mask.all()):
            return cls(None, packs=True)
        return cls(mask, packs=True, place=mask.flatten().nonzero()[:, 0])

    @property
    def lengths(self) -> Tensor | None:
        """Tokens of each document ``[B]``, if they are packed."""
        return self.mask.sum(1) if self.packs and self.mask is not None else None

    def pack(self, tokens: Tensor) -> Tensor:
        """``[B, N, ...] -> [1, T, ...]``, or the same with zeros at padding."""
        if self.mask is None:
            return tokens
        if self.place is not None:
            return pack_tokens(tokens, self.place)
        return tokens.masked_fill(~self.mask.view(*self.mask.shape, *[1] * (tokens.dim() - 2)), 0)

    def spread(self, packed: Tensor) -> Tensor:
        """Undo ``pack``: zero at padding."""
        if self.mask is None or self.place is None:
            return self.pack(packed)
        return spread_tokens(packed, self.place, self.mask)
