"""The encoder with a classifier: of whole documents, from the top of the pyramid, or of every token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from simmim.errors import ShapeError
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.encoder_head import SimMIMEncoderHead
from simmim.models.losses import IGNORED, check_labels, token_loss
from simmim.models.modeling_simmim import SimMIMModel, SimMIMModelOutput

__all__ = [
    "SimMIMForSequenceClassification",
    "SimMIMForTokenClassification",
    "SimMIMSequenceClassifierOutput",
    "SimMIMTokenClassifierOutput",
]

ProblemType: TypeAlias = Literal["regression", "single_label_classification", "multi_label_classification"]


@dataclass
class SimMIMSequenceClassifierOutput(SequenceClassifierOutput):
    """What ``SimMIMForSequenceClassification`` returns.

    Attributes:
        state_attentions: what tokens or states of each layer give to the states, as ``SimMIMModel`` returns it.
    """

    state_attentions: tuple[Tensor | None, ...] | None = None


@dataclass
class SimMIMTokenClassifierOutput(TokenClassifierOutput):
    """What ``SimMIMForTokenClassification`` returns.

    Attributes:
        state_attentions: what tokens or states of each layer give to the states, as ``SimMIMModel`` returns it.
    """

    state_attentions: tuple[Tensor | None, ...] | None = None


class _SimMIMClassifier(SimMIMEncoderHead):
    """An encoder and a linear classifier behind dropout."""

    def __init__(self, config: SimMIMConfig, add_pooling_layer: bool) -> None:
        super().__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.encoder = SimMIMModel(config, add_pooling_layer=add_pooling_layer)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()


class SimMIMForSequenceClassification(_SimMIMClassifier):
    """Classifies documents, or predicts numbers of them, from their global representation.

    ``num_labels`` and ``problem_type`` of the configuration say what is predicted, as everywhere in transformers. Where
    ``problem_type`` is None, the first labels settle it: ``regression`` for one label, else
    ``single_label_classification`` for whole numbers and ``multi_label_classification`` for floats.

    ``labels`` are, of one class, ``[B]`` int64, -100 where no loss is wanted; of several classes ``[B, num_labels]``
    floats from 0 to 1; for regression ``[B, num_labels]`` floats, or ``[B]`` for one number. ``logits`` are
    ``[B, num_labels]``.

    Args:
        config: its configuration; ``dropout`` is also that of the classifier.
    """

    _output = SimMIMSequenceClassifierOutput

    def __init__(self, config: SimMIMConfig) -> None:
        super().__init__(config, add_pooling_layer=True)

    def _logits(self, outputs: SimMIMModelOutput) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(outputs.pooler_output))
        return logits

    def _loss(self, logits: Tensor, labels: Tensor, num_items: Tensor | int | None) -> Tensor:
        """Return transformers' loss for the problem type, in float32, divided by the labels or by ``num_items``."""
        if self.config.problem_type is None:
            self.config.problem_type = _problem_type(self.num_labels, labels)
        kind = self.config.problem_type
        single = kind == "single_label_classification"
        if single:
            check_labels(labels, logits.shape[:1], self.num_labels)
            labels = labels.long()
        else:
            labels = _check_numbers(labels, logits, kind).float()
        count = (labels != IGNORED).sum().clamp(min=1) if single else labels.numel()
        items = count if num_items is None else num_items
        loss: Tensor = self.loss_function(
            labels=labels, pooled_logits=logits.float(), config=self.config, num_items_in_batch=items
        )
        return loss if single else loss * (count / items)  # transformers divides by the items only if single


class SimMIMForTokenClassification(_SimMIMClassifier):
    """Classifies every token from the encoder's output, without the pyramid.

    ``labels`` are ``[B, N]`` int64 classes, -100 where no loss is wanted; ``logits`` are ``[B, N, num_labels]``.

    Args:
        config: its configuration, with ``num_labels``; ``dropout`` is also that of the classifier.
    """

    _output = SimMIMTokenClassifierOutput

    def __init__(self, config: SimMIMConfig) -> None:
        super().__init__(config, add_pooling_layer=False)

    def _logits(self, outputs: SimMIMModelOutput) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(outputs.last_hidden_state))
        return logits

    def _loss(self, logits: Tensor, labels: Tensor, num_items: Tensor | int | None) -> Tensor:
        return token_loss(logits, labels, num_items)


def _problem_type(num_labels: int, labels: Tensor) -> ProblemType:
    """Return what labels of this dtype ask for."""
    if num_labels == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def _check_numbers(labels: Tensor, logits: Tensor, problem_type: str) -> Tensor:
    """Return labels of the logits' shape; refuse what is no float, or no probability where these are wanted."""
    if logits.shape[1] == 1 and labels.dim() == 1:
        labels = labels[:, None]
    if labels.shape != logits.shape:
        raise ShapeError(f"labels: expected {list(logits.shape)} for {problem_type}, got {list(labels.shape)}")
    if not labels.is_floating_point():
        raise ShapeError(f"labels: expected floats for {problem_type}, got {labels.dtype}; use labels.float()")
    probabilities = problem_type == "multi_label_classification" and not torch.compiler.is_compiling()
    if probabilities and not bool(((labels >= 0) & (labels <= 1)).all()):
        raise ShapeError(
            f"labels: expected floats from 0 to 1 for {problem_type}, got {labels.min():g} to {labels.max():g}"
        )
    return labels
