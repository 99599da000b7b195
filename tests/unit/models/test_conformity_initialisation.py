"""Contract 9, at the start: every parameter begins as the configuration says, new or missing in a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from simmim import SimMIMConfig
from simmim.models.modeling_simmim import SimMIMModel, SimMIMPreTrainedModel
from support import MODELS, VARIANTS, family, small_config

Head = type[SimMIMPreTrainedModel]
RICH = {"state_null": True, "state_pooling": "attention", "initializer_range": 0.3}
STARTS = [
    *family(),
    *((head, "rich") for head in MODELS),
]


def build_to_start(head: Head, variant: str) -> SimMIMPreTrainedModel:
    rich = {**RICH, "state_read": "gated_broadcast", "aggregator": "weighted_sum", "state_reach": "pyramid"}
    return head(small_config(**(rich if variant == "rich" else {**VARIANTS[variant], "initializer_range": 0.3})))


def check_start(name: str, weight: Tensor) -> None:
    """Check that a parameter is what a model begins with, at an initializer_range of 0.3."""
    assert weight.isfinite().all(), name
    zero = ("pooling.query", "state_null", "state_ffn.down.weight", "logits", "aggregator.o_proj.weight", "bias")
    if "lstm" in name:
        assert 0.2 < weight.abs().max() <= 8**-0.5, name
    elif name.endswith(zero):
        assert not weight.any(), name
    elif name.endswith("norm.weight"):
        assert (weight == 1).all(), name
    elif name.endswith("state_gate"):
        assert (weight == 0.01).all(), name
    elif name.endswith("sharpness"):
        assert (weight == 0.2).all(), name
    elif name.endswith("merge.weight"):
        assert torch.equal(weight, torch.eye(16).repeat(1, 2) / 2), name
    else:
        assert abs(weight.std() / 0.3 - 1) < 6 / (2 * weight.numel()) ** 0.5, name


@pytest.mark.parametrize(("head", "variant"), STARTS)
def test_every_parameter_begins_as_the_configuration_says(head: Head, variant: str, tmp_path: Path) -> None:
    model = build_to_start(head, variant)
    for name, weight in model.named_parameters():
        check_start(name, weight)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(float("nan"))
    for module in model.modules():
        module._is_hf_initialized = False
    model.init_weights()
    for name, weight in model.named_parameters():
        check_start(name, weight)
    # And as from_pretrained does it, for what a checkpoint does not hold.
    model.save_pretrained(tmp_path)
    [embedding] = {
        name for name in load_file(tmp_path / "model.safetensors") if name.endswith("embed_tokens.weight")
    } & {
        "embed_tokens.weight",
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
    }
    save_file({embedding: torch.full((50, 16), 7.0)}, tmp_path / "model.safetensors", {"format": "pt"})
    again, report = head.from_pretrained(tmp_path, output_loading_info=True)
    assert report["missing_keys"]
    assert (again.get_input_embeddings().weight == 7).all()
    for name, weight in again.named_parameters():
        if not name.endswith("embed_tokens.weight"):
            check_start(name, weight)


def test_weights_begin_smaller_in_wider_models_unless_the_configuration_says_how_large() -> None:
    for width, expected in ((16, 0.158), (64, 0.079), (1000, 0.02)):
        config = small_config(hidden_size=width)
        assert config.initializer_range == pytest.approx(expected, rel=0.01)
    weight = SimMIMModel(small_config(hidden_size=64)).layers[0].ffn.gate_proj.weight
    assert float(weight.detach().std()) == pytest.approx(0.079, rel=0.1)
    assert small_config(initializer_range=0.02).initializer_range == 0.02
    assert SimMIMConfig.from_dict(small_config(hidden_size=64).to_dict()).initializer_range == pytest.approx(
        0.079, 0.01
    )
