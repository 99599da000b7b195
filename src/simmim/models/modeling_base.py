"""What every SimMIM model shares: loading, saving, initial weights, and how its parts are built of a configuration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from simmim.errors import ShapeError
from simmim.models.checkpoint_stacks import check_stacks
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.transformers_hooks import InitialisationHooks
from simmim.nn import SMIAttention
from simmim.nn.aggregators import Aggregator, Attention, Concat, WeightedSum
from simmim.nn.attend import AttendAttention
from simmim.nn.decoding_weights import as_trained
from simmim.nn.memory import Memory
from simmim.nn.states import StatePooling
from simmim.nn.token_embedding import TokenEmbedding
from simmim.nn.variants.broadcast import GatedBroadcastAttention, StateFFN
from simmim.nn.variants.poolings import AttentionPooling
from simmim.nn.variants.segment_encoders import SEGMENT_ENCODERS, SegmentEncoder
from simmim.ops.layout import SegmentLayout

__all__ = [
    "SimMIMPreTrainedModel",
    "keep_training_length",
    "layer_attention",
    "layouts_in_turn",
    "one_of",
    "segment_encoder",
    "token_embedding",
]

VARIANTS = (Aggregator, Memory, SegmentEncoder, StatePooling)
"""What users add classes of their own to."""


class SimMIMPreTrainedModel(InitialisationHooks):
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

    def _wanted(self, *given: bool | None) -> list[bool]:
        """Return whether hidden states, attention maps and a dictionary are wanted; None takes the configuration's."""
        names = ("output_hidden_states", "output_attentions", "return_dict")
        return [getattr(self.config, name) if one is None else one for name, one in zip(names, given, strict=True)]

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
            sharpness = getattr(module, "sharpness", None)
            if sharpness is not None:
                init.constant_(sharpness, AttendAttention.SHARPNESS)
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


def segment_encoder(config: SimMIMConfig, layer: int) -> nn.Module:
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
