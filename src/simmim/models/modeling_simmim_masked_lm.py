"""The encoder with a language-model head: predicts masked tokens, to pretrain on plain text."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from transformers.modeling_outputs import MaskedLMOutput

from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.encoder_head import SimMIMEncoderHead
from simmim.models.losses import token_loss
from simmim.models.modeling_simmim import SimMIMModel, SimMIMModelOutput

__all__ = ["SimMIMForMaskedLM", "SimMIMMaskedLMOutput"]


@dataclass
class SimMIMMaskedLMOutput(MaskedLMOutput):
    """What ``SimMIMForMaskedLM`` returns.

    Attributes:
        state_attentions: what tokens or states of each layer give to the states, as ``SimMIMModel`` returns it.
    """

    state_attentions: tuple[Tensor | None, ...] | None = None


class SimMIMForMaskedLM(SimMIMEncoderHead):
    """The encoder, without the pyramid, and a head that names the token of every position.

    One embedding serves encoder and head unless ``tie_word_embeddings=False``. ``input_ids`` have some tokens replaced
    by the mask token, ``labels [B, N]`` int64 are the tokens as they were, -100 where no loss is wanted.

    Args:
        config: its configuration.
    """

    _output = SimMIMMaskedLMOutput
    _tied_weights_keys = {"lm_head.weight": "encoder.embed_tokens.weight"}

    def __init__(self, config: SimMIMConfig) -> None:
        super().__init__(config)
        self.encoder = SimMIMModel(config, add_pooling_layer=False)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _logits(self, outputs: SimMIMModelOutput) -> Tensor:
        logits: Tensor = self.lm_head(outputs.last_hidden_state)
        return logits

    def _loss(self, logits: Tensor, labels: Tensor, num_items: Tensor | int | None) -> Tensor:
        return token_loss(logits, labels, num_items)
