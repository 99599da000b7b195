"""What a SimMIM model is made of: the configuration that is saved with it."""

from __future__ import annotations

import copy
import math
import shutil
from dataclasses import fields
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from simmim.errors import ConfigError
from simmim.nn import AGGREGATORS, MEMORIES, SEGMENT_ENCODERS, STATE_POOLINGS, STATE_REACHES, STATE_READS
from simmim.ops.options import STATE_WEIGHTS, AttentionOptions

__all__ = ["LITERAL", "SimMIMConfig"]

LITERAL = {
    **{"state_pooling": "first", "state_read": "broadcast", "state_null": False, "neighbours": 0},
    "partial_rotary_factor": 1.0,
    "copy_head": False,
}
"""Settings of the source document's form (§3.1, §4.1): the first vector as state, broadcast, no neighbours."""


AUTO_MODULE = "simmim_auto"
"""The module of this folder that lies beside every saved model."""
AUTO_CLASSES = {
    "AutoConfig": "SimMIMConfig",
    "AutoModel": "SimMIMModel",
    "AutoModelForCausalLM": "SimMIMForCausalLM",
    "AutoModelForMaskedLM": "SimMIMForMaskedLM",
    "AutoModelForSeq2SeqLM": "SimMIMForConditionalGeneration",
    "AutoModelForSequenceClassification": "SimMIMForSequenceClassification",
    "AutoModelForTokenClassification": "SimMIMForTokenClassification",
}
"""What transformers loads with ``trust_remote_code=True`` where simmim is not imported."""

_MOST_LAYERS = 10_000  # else a slip of the finger builds layers until the memory is full


@strict
class SimMIMConfig(PreTrainedConfig):
    """Describe a SimMIM model.

    The default preset is what measurements favour so far (``docs/decisions``); ``SimMIMConfig.literal()`` is the
    source document's form.

    Args:
        vocab_size: rows of the token embedding.
        hidden_size: E.
        intermediate_size: width of the gated FFN.
        num_hidden_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder, where there is one.
        num_attention_heads: H.
        segment_length: L, tokens of a segment.
        state_pooling: ``first``, ``last``, ``mean`` or ``attention``: what makes a segment's state. A decoder, whose
            first vector has seen nothing, takes ``last`` where this says ``first``.
        state_read: ``broadcast``, ``gated_broadcast``, ``attend`` or ``none``: how states reach the tokens.
        state_null: a learned slot that a reader of states may choose instead of them.
        state_weight: ``each`` or ``shared``: whether a state that is attended to weighs as much as a token, or all that
            a token reads together weigh as much as one, and heads learn to look sharper the more there are (decision
            0008).
        training_length: tokens of the longest text that the model has learnt from, which ``simmim train`` puts here;
            None: not known. The states of a longer text weigh together as much as those of such a text (decision 0012).
        tie_state_projections: states that are attended to have the keys and values that ``k_proj`` and ``v_proj`` give
            them, as tokens do (decision 0013); else those of projections of their own.
        neighbours: 0 or 1 whole segments on either side (decoder: before) that tokens read in full.
        segment_shift: tokens by which the borders move on every other layer.
        state_reach: ``all`` or ``pyramid``: which states a reader sees: every segment's, or the O(log S) nodes of a
            pyramid of states that cover the rest of the document.
        segment_encoder: ``smi``, ``lstm`` or ``cnn``: what an encoder layer does with its segments.
        scale_embedding: multiply token embeddings by √E (decision 0006).
        rotary: rotary positions for tokens and states.
        rope_theta: base of the rotary frequencies.
        partial_rotary_factor: share of a head's channel pairs that turn with the position, the fastest; states that are
            attended to are found by the others. If it is 1, all turn, and states stand at the middle of their segment.
        aggregator: ``concat``, ``weighted_sum`` or ``attention``: what merges two nodes of a pyramid.
        memory: ``tokens``, ``pyramid`` or ``two_level``: what a decoder sees of the encoder.
        memory_top_k: segments that each query of a ``two_level`` memory attends to.
        copy_head: let a sequence-to-sequence model copy source tokens (``nn.CopyHead``), for summaries that repeat the
            source's words, and a causal language model what followed the same tokens before (``nn.PastCopyHead``).
            None: the language model does (decision 0014), the other does not.
        dropout: share of the channels dropped before each residual sum.
        norm_eps: of the RMS norms.
        initializer_range: standard deviation of the weights to begin with; None for √(2 / 5E) (decision 0007).

    Raises:
        ConfigError: a value is not among those allowed, or two do not go together.
    """

    model_type = "simmim"
    keys_to_ignore_at_inference = [
        # What is no prediction: what decoding goes on from, what the encoder read and made, and the maps of states,
        # which a layer may lack.
        *("past_key_values", "source_ids", "pyramid", "encoder_last_hidden_state", "encoder_hidden_states"),
        *("encoder_attentions", "state_attentions", "encoder_state_attentions", "decoder_state_attentions"),
    ]
    attribute_map = {"encoder_layers": "num_hidden_layers", "decoder_layers": "num_decoder_layers"}

    vocab_size: int = 8192
    hidden_size: int = 256
    intermediate_size: int = 704
    num_hidden_layers: int = 4
    num_decoder_layers: int = 2
    num_attention_heads: int = 4
    segment_length: int = 64
    state_pooling: str = AttentionOptions.state_pooling
    state_read: str = AttentionOptions.state_read
    state_null: bool = AttentionOptions.state_null
    state_weight: str = AttentionOptions.state_weight
    training_length: int | None = None
    tie_state_projections: bool = AttentionOptions.tie_state_projections
    neighbours: int = AttentionOptions.neighbours
    segment_shift: int = AttentionOptions.segment_shift
    state_reach: str = AttentionOptions.state_reach
    segment_encoder: str = "smi"
    scale_embedding: bool = True
    rotary: bool = AttentionOptions.rotary
    rope_theta: float | int = AttentionOptions.rope_theta
    partial_rotary_factor: float | int = AttentionOptions.partial_rotary_factor
    aggregator: str = AttentionOptions.aggregator
    memory: str = "tokens"
    memory_top_k: int = 8
    copy_head: bool | None = None
    dropout: float | int = 0.0
    norm_eps: float = 1e-6
    initializer_range: float | None = None
    is_encoder_decoder: bool = False
    use_cache: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 1

    @classmethod
    def literal(cls, **changes: Any) -> SimMIMConfig:
        """Return the source document's form (§3.1, §4.1): the first vector as state, broadcast, no neighbours."""
        return cls(**{**LITERAL, **changes})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a configuration of a dictionary, such as a model's file holds; see `PreTrainedConfig`.

        A file that does not say `scale_embedding`, `partial_rotary_factor` or `tie_state_projections` is of a model
        from before there was this setting, which had no scale, turned all channels, or projected states apart; one
        that does not say `copy_head` is of a model without one.
        """
        # Of use before these classes are known; a configuration that is saved names them anew.
        config_dict = {name: value for name, value in config_dict.items() if name != "auto_map"}
        if "transformers_version" in config_dict:  # which every file says
            before = {
                **{"scale_embedding": False, "partial_rotary_factor": 1.0, "tie_state_projections": False},
                "copy_head": False,
            }
            config_dict = before | config_dict
        return super().from_dict(config_dict, **kwargs)

    def save_pretrained(self, save_directory: str | PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        """Save as ``PreTrainedConfig`` does, and beside it a small module that names the package's classes.

        With ``trust_remote_code=True`` transformers then loads the model where simmim is installed but not imported.
        """
        saved = copy.deepcopy(self)
        saved.auto_map = {auto: f"{AUTO_MODULE}.{name}" for auto, name in AUTO_CLASSES.items()}
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(__file__).with_name(f"{AUTO_MODULE}.py"), Path(save_directory, f"{AUTO_MODULE}.py"))
        super(SimMIMConfig, saved).save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Do nothing: what is saved names the classes of the package, not copies of their files."""

    def __post_init__(self, **kwargs: Any) -> None:
        """Complete the configuration and refuse what no model can be built from."""
        for name in kwargs.keys() - self.attribute_map.keys():
            # Attributes of one's own are kept, as in every configuration; a setting that is misspelt is not one.
            meant = get_close_matches(name, SimMIMConfig.__annotations__, n=1, cutoff=0.88)
            if meant:
                raise ConfigError(f"{name}: expected a setting of SimMIMConfig; did you mean {meant[0]}?")
        super().__post_init__(**kwargs)
        if self.initializer_range is None and self._whole("hidden_size", 1):
            # the small initialisation of Nguyen and Salazar (arXiv 1910.05895, §2.2): 0.02 at a width of 1,000
            self.initializer_range = (2 / (5 * self.hidden_size)) ** 0.5
        self.check()

    @property
    def trained_states(self) -> int | None:
        """How many states, its own segment's not counted, a text of ``training_length`` tokens has."""
        if self.training_length is None:
            return None
        return max(1, math.ceil(self.training_length / self.segment_length) - 1)

    def attention_options(self, layer: int, *, causal: bool) -> AttentionOptions:
        """Return the options of one layer's attention; every other layer has shifted borders if there is a shift."""
        names = (field.name for field in fields(AttentionOptions) if field.init)
        same = {name: getattr(self, name) for name in names if hasattr(self, name)}
        changed = {
            "num_heads": self.num_attention_heads,
            "causal": causal,
            "state_pooling": "last" if causal and self.state_pooling == "first" else self.state_pooling,
            "segment_shift": self.segment_shift if layer % 2 else 0,
            "rope_theta": float(self.rope_theta),
        }
        return AttentionOptions(**same | changed)

    def check(self) -> None:
        """Refuse what no model can be built from.

        Raises:
            ConfigError: a value is not among those allowed, or two do not go together.
        """
        for registry in (STATE_POOLINGS, STATE_READS, STATE_REACHES, AGGREGATORS, SEGMENT_ENCODERS, MEMORIES):
            registry.find(getattr(self, registry.setting))
        positive = (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "segment_length",
            "memory_top_k",
        )
        for name in positive:
            self._require(name, self._whole(name, 1), "a whole number of 1 or more")
        self._require("segment_shift", self._whole("segment_shift", 0), "a whole number of 0 or more")
        for name in ("num_hidden_layers", "num_decoder_layers"):
            fits = self._whole(name, 0) and getattr(self, name) <= _MOST_LAYERS
            self._require(name, fits, f"a whole number from 0 to {_MOST_LAYERS:,}")
        known = self.training_length is None or self._whole("training_length", 1)
        self._require("training_length", known, "a whole number of 1 or more, or None")
        heads = self.num_attention_heads
        self._require("hidden_size", self.hidden_size % heads == 0, f"a multiple of num_attention_heads ({heads})")
        even = not self.rotary or self.hidden_size // heads % 2 == 0
        self._require("num_attention_heads", even, "heads of even width (hidden_size / heads) for rotary positions")
        self._require("neighbours", self.neighbours in (0, 1), "0 or 1")
        self._require(
            "segment_shift",
            self.segment_shift < self.segment_length,
            f"less than segment_length ({self.segment_length})",
        )
        lstm = self.segment_encoder == "lstm"
        self._require("hidden_size", not lstm or self.hidden_size % 2 == 0, "an even number for segment_encoder='lstm'")
        for name in ("rope_theta", "norm_eps", "initializer_range"):
            value = getattr(self, name)
            self._require(name, isinstance(value, int | float) and value > 0, "a number above 0")
        for name in ("state_null", "tie_state_projections", "scale_embedding", "rotary"):
            self._require(name, isinstance(getattr(self, name), bool), "True or False")
        self._require("copy_head", self.copy_head in (True, False, None), "True, False or None")
        self._require("state_weight", self.state_weight in STATE_WEIGHTS, f"one of {', '.join(STATE_WEIGHTS)}")
        number = isinstance(self.partial_rotary_factor, int | float)
        self._require("partial_rotary_factor", number and 0 <= self.partial_rotary_factor <= 1, "a share from 0 to 1")
        number = isinstance(self.dropout, int | float)
        self._require("dropout", number and 0 <= self.dropout < 1, "a share from 0 to below 1")

    def _whole(self, name: str, least: int) -> bool:
        value = getattr(self, name)
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ConfigError(f"{name}: expected {expected}, got {getattr(self, name)!r}")
