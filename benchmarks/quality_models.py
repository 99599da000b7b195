"""The models that the benchmark of summaries compares: one size, one tokenizer, another attention each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LEDConfig, LEDForConditionalGeneration, PreTrainedModel
from transformers.modeling_outputs import Seq2SeqLMOutput

from simmim import SimMIMConfig, SimMIMForConditionalGeneration
from simmim.models.losses import copying_loss, token_loss
from simmim.nn.copy_head import CopyHead, Source

__all__ = ["FORMS", "Led", "Size", "build", "load", "parameters"]

FORMS = {
    "simmim": "SimMIM",
    "full": "full attention",
    "local": "block-local, no states",
    "led": "LED",
}


@dataclass(frozen=True)
class Size:
    """Says how large the models are, and what they must be able to read and write.

    Attributes:
        vocab_size: tokens of the tokenizer.
        hidden_size: E.
        intermediate_size: width of SimMIM's FFN; the others' are chosen so that their numbers of parameters agree.
        layers: of the encoder.
        decoder_layers: of the decoder.
        heads: H.
        segment_length: L of SimMIM and of the block-local model.
        max_source_tokens: of the longest document.
        max_target_tokens: of the longest summary that is read or written.
        dropout: of every model.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    decoder_layers: int
    heads: int
    segment_length: int
    max_source_tokens: int
    max_target_tokens: int
    dropout: float


class Led(LEDForConditionalGeneration):
    """LED whose first token has global attention, as its authors have it for summaries; with SimMIM's copy head."""

    def __init__(self, config: LEDConfig) -> None:
        super().__init__(config)
        self.copy_head = CopyHead(config.d_model) if config.copy_head else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *args: Any,
        labels: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        global_attention_mask: Tensor | None = None,
        source_ids: Tensor | None = None,
        copy_keys: Tensor | None = None,
        skip_logits: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Run the model; see `LEDForConditionalGeneration`.

        `source_ids` are what `encoder_outputs` were made of, `copy_keys` what the copy head made of those; with
        `skip_logits` it says of the labels alone how likely they are, as SimMIM's does.
        """
        if global_attention_mask is None and input_ids is not None:
            global_attention_mask = _first(input_ids)
        if labels is not None and decoder_input_ids is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if skip_logits and labels is not None and self.copy_head is not None:
            decoded = self.led(
                input_ids,
                attention_mask,
                decoder_input_ids=decoder_input_ids,
                global_attention_mask=global_attention_mask,
                return_dict=True,
            )
            assert input_ids is not None
            source = self._source(decoded.encoder_last_hidden_state, attention_mask, input_ids)
            hidden, weight = decoded.last_hidden_state, self.lm_head.weight
            return Seq2SeqLMOutput(loss=copying_loss(self.copy_head, hidden, weight, source, labels))
        kwargs |= {"output_hidden_states": True, "return_dict": True}
        out = super().forward(
            input_ids,
            attention_mask,
            *args,
            decoder_input_ids=decoder_input_ids,
            global_attention_mask=global_attention_mask,
            **kwargs,
        )
        if self.copy_head is not None:
            ids = input_ids if source_ids is None else source_ids
            assert ids is not None
            source = self._source(out.encoder_last_hidden_state, attention_mask, ids, copy_keys)
            out.logits = self.copy_head(out.decoder_hidden_states[-1], out.logits, *source)
        if labels is not None:
            out.loss = token_loss(out.logits, labels)
        return out

    def _source(
        self, memory: Tensor, attention_mask: Tensor | None, source_ids: Tensor, keys: Tensor | None = None
    ) -> Source:
        assert self.copy_head is not None
        mask = None if attention_mask is None else attention_mask.bool()
        return Source(self.copy_head.project_memory(memory, mask) if keys is None else keys, source_ids, mask)

    def generate(  # type: ignore[override]
        self: Any, *args: Any, input_ids: Tensor, **kwargs: Any
    ) -> Any:
        """Write; see `GenerationMixin`."""
        kwargs |= {"source_ids": input_ids, "global_attention_mask": _first(input_ids)}
        return LEDForConditionalGeneration.generate(self, *args, input_ids=input_ids, **kwargs)

    def _expand_inputs_for_generation(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Make the keys of what can be copied, once for all that is written, as SimMIM's cache does."""
        if self.copy_head is not None:
            memory = kwargs["encoder_outputs"].last_hidden_state
            kwargs["copy_keys"] = self._source(memory, kwargs["attention_mask"], kwargs["source_ids"]).keys
        return LEDForConditionalGeneration._expand_inputs_for_generation(self, *args, **kwargs)


def build(form: str, size: Size, *, copy_head: bool) -> PreTrainedModel:
    """Build a model with as many parameters as SimMIM's, apart from LED's embeddings of positions.

    `full` is SimMIM's class with a segment that holds the longest document; `local` has SimMIM's segments and
    neighbours. Neither has states: what their projections hold is given to the FFN. LED's window is as wide as the
    tokens that SimMIM reads of its own segment and both neighbours.

    Args:
        form: a key of `FORMS`.
        size: of SimMIM.
        copy_head: whether it can copy source tokens.
    """
    goal = parameters(_of("simmim", size, size.intermediate_size, copy_head))["compared"]
    base = parameters(_of(form, size, size.intermediate_size, copy_head))["compared"]
    step = parameters(_of(form, size, size.intermediate_size + 1, copy_head))["compared"] - base
    return _of(form, size, size.intermediate_size + round((goal - base) / step), copy_head)


def load(form: str, folder: Path) -> PreTrainedModel:
    """Load what `save_pretrained` of a model wrote."""
    model_class = Led if form == "led" else SimMIMForConditionalGeneration
    model: PreTrainedModel = model_class.from_pretrained(folder, local_files_only=True).eval()
    return model


def parameters(model: PreTrainedModel) -> dict[str, int]:
    """Count parameters: all, embeddings of positions (only LED learns any), and the others, which are compared."""
    total = sum(parameter.numel() for parameter in model.parameters())
    positions = sum(parameter.numel() for name, parameter in model.named_parameters() if "embed_positions" in name)
    return {"total": total, "positions": positions, "compared": total - positions}


def _of(form: str, size: Size, intermediate_size: int, copy_head: bool) -> PreTrainedModel:
    if form == "led":
        return Led(_led_config(size, intermediate_size, copy_head))
    forms: dict[str, dict[str, Any]] = {
        "simmim": {"segment_length": size.segment_length},
        "local": {"segment_length": size.segment_length, "state_read": "none"},
        # a whole document is one segment: there is no neighbour
        "full": {"segment_length": size.max_source_tokens, "state_read": "none", "neighbours": 0},
    }
    return SimMIMForConditionalGeneration(
        SimMIMConfig(
            vocab_size=size.vocab_size,
            hidden_size=size.hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=size.layers,
            num_decoder_layers=size.decoder_layers,
            num_attention_heads=size.heads,
            copy_head=copy_head,
            dropout=size.dropout,
            training_length=size.max_source_tokens,
            **forms[form],
        )
    )


def _led_config(size: Size, intermediate_size: int, copy_head: bool) -> LEDConfig:
    window = 3 * size.segment_length
    window += window % 2  # half of it lies on either side
    own: dict[str, Any] = {"copy_head": copy_head}  # which LED itself does not know
    return LEDConfig(
        vocab_size=size.vocab_size,
        d_model=size.hidden_size,
        encoder_layers=size.layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=intermediate_size,
        decoder_ffn_dim=intermediate_size,
        attention_window=window,
        # it pads a document to whole windows
        max_encoder_position_embeddings=(size.max_source_tokens // window + 2) * window,
        max_decoder_position_embeddings=size.max_target_tokens + 2,
        dropout=size.dropout,
        init_std=SimMIMConfig(hidden_size=size.hidden_size, num_attention_heads=size.heads).initializer_range or 0.02,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        **own,
    )


def _first(input_ids: Tensor) -> Tensor:
    mask = torch.zeros_like(input_ids)
    mask[:, 0] = 1
    return mask
