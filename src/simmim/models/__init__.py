"""The Hugging Face models; importing this registers them with transformers' Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from simmim.models.cache_simmim import SimMIMCache, SimMIMEncoderDecoderCache
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.modeling_simmim import SimMIMModel, SimMIMModelOutput
from simmim.models.modeling_simmim_causal import SimMIMForCausalLM
from simmim.models.modeling_simmim_classification import SimMIMForSequenceClassification, SimMIMForTokenClassification
from simmim.models.modeling_simmim_masked_lm import SimMIMForMaskedLM
from simmim.models.modeling_simmim_seq2seq import SimMIMForConditionalGeneration
from simmim.models.pretrained import pretrained_path

__all__ = [
    "SimMIMCache",
    "SimMIMConfig",
    "SimMIMEncoderDecoderCache",
    "SimMIMForCausalLM",
    "SimMIMForConditionalGeneration",
    "SimMIMForMaskedLM",
    "SimMIMForSequenceClassification",
    "SimMIMForTokenClassification",
    "SimMIMModel",
    "SimMIMModelOutput",
    "pretrained_path",
]

AutoConfig.register("simmim", SimMIMConfig)
AutoModel.register(SimMIMConfig, SimMIMModel)
AutoModelForCausalLM.register(SimMIMConfig, SimMIMForCausalLM)
AutoModelForMaskedLM.register(SimMIMConfig, SimMIMForMaskedLM)
AutoModelForSeq2SeqLM.register(SimMIMConfig, SimMIMForConditionalGeneration)
AutoModelForSequenceClassification.register(SimMIMConfig, SimMIMForSequenceClassification)
AutoModelForTokenClassification.register(SimMIMConfig, SimMIMForTokenClassification)
