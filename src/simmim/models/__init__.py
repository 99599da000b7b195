"""The Hugging Face models; importing this registers them with transformers' Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from simmim.models.cache_simmim import SimMIMCache
from simmim.models.configuration_simmim import SimMIMConfig
from simmim.models.modeling_simmim import SimMIMModel, SimMIMModelOutput
from simmim.models.modeling_simmim_seq2seq import SimMIMForConditionalGeneration
from simmim.models.pretrained import pretrained_path

__all__ = [
    "SimMIMCache",
    "SimMIMConfig",
    "SimMIMForConditionalGeneration",
    "SimMIMModel",
    "SimMIMModelOutput",
    "pretrained_path",
]

AutoConfig.register("simmim", SimMIMConfig)
AutoModel.register(SimMIMConfig, SimMIMModel)
AutoModelForSeq2SeqLM.register(SimMIMConfig, SimMIMForConditionalGeneration)
