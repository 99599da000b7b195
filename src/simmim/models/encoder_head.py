"""The encoder with a head on it: what classifiers and the masked language model share."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.utils.generic import ModelOutput

from simmim.models.checkpoint_stacks import ENCODER
from simmim.models.modeling_base import SimMIMPreTrainedModel
from simmim.models.modeling_simmim import SimMIMModel, SimMIMModelOutput

__all__ = ["SimMIMEncoderHead"]


class SimMIMEncoderHead(SimMIMPreTrainedModel):
    """Base of encoders with a head. A subclass builds both, and defines ``_logits``, ``_loss`` and ``_output``."""

    _no_split_modules = ["SimMIMEncoderLayer"]
    _stacks = frozenset({ENCODER})
    _output: type[ModelOutput]
    """What ``forward`` returns."""
    encoder: SimMIMModel

    def _logits(self, outputs: SimMIMModelOutput) -> Tensor:
        """Return the head's scores."""
        raise TypeError(f"{type(self).__name__} must define _logits")

    def _loss(self, logits: Tensor, labels: Tensor, num_items: Tensor | int | None) -> Tensor:
        """Return the loss, divided by the labels or by ``num_items``."""
        raise TypeError(f"{type(self).__name__} must define _loss")

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
    ) -> ModelOutput | tuple[Any, ...]:
        """Encode a batch of documents and apply the head.

        Args:
            input_ids: ``[B, N]`` int64.
            attention_mask: ``[B, N]``, 1 for tokens and 0 for padding, wherever it is; None if all are tokens.
            inputs_embeds: ``[B, N, E]`` instead of ids.
            labels: as the class says.
            output_hidden_states: also return the output of every layer.
            output_attentions: also return the encoder's attention maps.
            return_dict: False for a plain tuple.
            **kwargs: ``num_items_in_batch``, by which the Trainer wants the summed loss divided; others are ignored.

        Returns:
            ``loss`` (mean over the labels, float32), ``logits`` as the class says, and what was asked for.

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
        logits = self._logits(outputs)
        output = self._output(
            loss=None if labels is None else self._loss(logits, labels, kwargs.get("num_items_in_batch")),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            state_attentions=outputs.state_attentions,
        )
        wants_dict = self.config.return_dict if return_dict is None else return_dict
        return output if wants_dict else output.to_tuple()
