"""The encoder with a language-model head: predicts masked tokens, to pretrain on plain text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import MaskedLMOutput

from simmim.models.checkpoint_stacks import ENCODER
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.losses import token_loss
from simmim.models.modeling_simmim import SimMIMModel, SimMIMPreTrainedModel

__all__ = ["SimMIMForMaskedLM", "SimMIMMaskedLMOutput"]


@dataclass
class SimMIMMaskedLMOutput(MaskedLMOutput):
    """What ``SimMIMForMaskedLM`` returns.

    Attributes:
        state_attentions: what tokens or states of each layer give to the states, as ``SimMIMModel`` returns it.
    """

    state_attentions: tuple[Tensor | None, ...] | None = None


class SimMIMForMaskedLM(SimMIMPreTrainedModel):
    """The encoder, without the pyramid, and a head that names the token of every position.

    One embedding serves encoder and head unless ``tie_word_embeddings=False``.

    Args:
        config: its configuration.
    """

    _no_split_modules = ["SimMIMEncoderLayer"]
    _stacks = frozenset({ENCODER})
    _tied_weights_keys = {"lm_head.weight": "encoder.embed_tokens.weight"}

    def __init__(self, config: SimMIMConfig) -> None:
        super().__init__(config)
        self.encoder = SimMIMModel(config, add_pooling_layer=False)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        self.encoder.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> SimMIMMaskedLMOutput | tuple[Any, ...]:
        """Predict the token of every position of a batch of documents.

        Args:
            input_ids: ``[B, N]`` int64, some of them replaced by the mask token.
            attention_mask: ``[B, N]``, 1 for tokens and 0 for padding, wherever it stands; None if all are tokens.
            inputs_embeds: ``[B, N, E]`` instead of ids.
            labels: ``[B, N]`` int64 tokens as they were, -100 where no loss is wanted.
            output_hidden_states: also return the output of every layer.
            output_attentions: also return the encoder's attention maps.
            return_dict: False for a plain tuple.
            **kwargs: ``num_items_in_batch``, by which the Trainer wants the summed loss divided; others are ignored.

        Returns:
            ``loss`` (mean over the labels, float32), ``logits [B, N, vocab_size]``, and what was asked for.

        Raises:
            ShapeError: a shape or a label is not as above.
        """
        outputs = self.encoder(
            input_ids,
            attention_mask,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.lm_head(outputs.last_hidden_state)
        output = SimMIMMaskedLMOutput(
            loss=None if labels is None else token_loss(logits, labels, kwargs.get("num_items_in_batch")),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            state_attentions=outputs.state_attentions,
        )
        wants_dict = self.config.return_dict if return_dict is None else return_dict
        return output if wants_dict else output.to_tuple()
