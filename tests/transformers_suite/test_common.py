"""transformers' common tests, on every class: what each promises to everything that is built on transformers."""

from __future__ import annotations

import sys
import unittest
from typing import Any

import pytest
import torch
from transformers.models.auto import modeling_auto

from simmim import (
    SimMIMConfig,
    SimMIMForCausalLM,
    SimMIMForConditionalGeneration,
    SimMIMForMaskedLM,
    SimMIMForSequenceClassification,
    SimMIMForTokenClassification,
    SimMIMModel,
)
from transformers_suite.sdist import common_tests

pytestmark = pytest.mark.slow

modeling = common_tests("test_modeling_common")
training = common_tests("test_training_mixin")
generation = sys.modules["transformers_tests.generation.test_utils"]

HEADS = {
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": SimMIMForCausalLM,
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": SimMIMForMaskedLM,
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES": SimMIMForConditionalGeneration,
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": SimMIMForSequenceClassification,
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": SimMIMForTokenClassification,
    "MODEL_MAPPING_NAMES": SimMIMModel,
}
for _mapping, _head in HEADS.items():  # by which the tests tell what labels a class wants
    getattr(modeling_auto, _mapping)["simmim"] = _head.__name__


class Tester:
    """Makes a tiny configuration and inputs, as transformers' tests of a model do."""

    batch_size, seq_length, encoder_seq_length, decoder_seq_length, key_length = 3, 11, 11, 11, 11
    is_training, num_hidden_layers, num_attention_heads, hidden_size, vocab_size = True, 2, 2, 16, 50

    def __init__(self, parent: unittest.TestCase, is_encoder_decoder: bool) -> None:
        self.parent, self.is_encoder_decoder = parent, is_encoder_decoder

    def get_config(self) -> SimMIMConfig:
        sizes = {"hidden_size": self.hidden_size, "intermediate_size": 24, "vocab_size": self.vocab_size}
        layers = {"num_hidden_layers": 2, "num_decoder_layers": 2, "num_attention_heads": 2, "segment_length": 4}
        return SimMIMConfig(**sizes, **layers, num_labels=3, is_encoder_decoder=self.is_encoder_decoder)

    def prepare_config_and_inputs_for_common(self) -> tuple[SimMIMConfig, dict[str, torch.Tensor]]:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(4, 50, (self.batch_size, self.seq_length), generator=generator)
        mask = torch.ones_like(ids)
        mask[:, -2:] = 0
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.is_encoder_decoder:
            inputs |= {"decoder_input_ids": ids.flip(1), "decoder_attention_mask": torch.ones_like(ids)}
        return self.get_config(), inputs


class Common(modeling.ModelTesterMixin):
    """What the tests of all classes share."""

    model_class: type[Any]
    model_tester: Any = None

    def setUp(self) -> None:
        self.model_tester = Tester(self, self.model_class is SimMIMForConditionalGeneration)
        self.all_model_classes = (self.model_class,)
        self.is_encoder_decoder = self.model_tester.is_encoder_decoder


class Overfitting(training.TrainingTesterMixin):
    """The test of training, which knows no labels but those of tokens."""

    training_overfit_learning_rate = 5e-3


class TestModel(Common, unittest.TestCase):
    model_class = SimMIMModel


class TestMaskedLM(Common, Overfitting, unittest.TestCase):
    model_class = SimMIMForMaskedLM


class TestSequenceClassification(Common, unittest.TestCase):
    model_class = SimMIMForSequenceClassification


class TestTokenClassification(Common, unittest.TestCase):
    model_class = SimMIMForTokenClassification


class TestConditionalGeneration(Common, Overfitting, generation.GenerationTesterMixin, unittest.TestCase):
    model_class = SimMIMForConditionalGeneration


class TestCausalLM(Common, Overfitting, generation.GenerationTesterMixin, unittest.TestCase):
    model_class = SimMIMForCausalLM


del Common, Overfitting
