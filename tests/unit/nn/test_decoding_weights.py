"""Weights that are laid out for decoding say what they said, and are not trained by mistake."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from simmim import SimMIMForCausalLM, SimMIMForConditionalGeneration, lay_out_for_decoding
from support import small_config


@pytest.mark.parametrize("head", [SimMIMForCausalLM, SimMIMForConditionalGeneration])
def test_a_model_says_the_same_and_is_saved_as_before(head: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = head(small_config(intermediate_size=48)).eval()
    model = copy.deepcopy(before)
    with torch.inference_mode():
        assert lay_out_for_decoding(model) is model
    rows = {
        name: value.shape for name, value in model.state_dict().items() if value.dim() == 2 and value.stride(0) == 1
    }
    assert "lm_head.weight" in rows
    assert any(name.endswith("gate_proj.weight") for name in rows)
    assert all(shape[0] > shape[1] for shape in rows.values())
    assert model.lm_head.weight is model.get_input_embeddings().weight, "still tied"
    ids = torch.randint(4, 50, (2, 21))
    for call in (lambda m: m(ids, labels=ids).loss, lambda m: m.generate(ids, max_new_tokens=9, do_sample=False)):
        torch.testing.assert_close(call(model), call(before))
    model.save_pretrained(tmp_path)
    assert model.lm_head.weight.stride(0) == 1, "as before it was saved"
    again = head.from_pretrained(tmp_path)
    for name, value in before.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
        assert again.state_dict()[name].is_contiguous()


def test_it_is_not_trained() -> None:
    model = lay_out_for_decoding(SimMIMForCausalLM(small_config())).train()
    ids = torch.randint(4, 50, (2, 21))
    with pytest.raises(RuntimeError, match="does not require grad"):
        model(ids, labels=ids).loss.backward()


def test_other_dtypes_lie_as_they_did() -> None:
    model = lay_out_for_decoding(SimMIMForCausalLM(small_config()).bfloat16())
    assert all(parameter.is_contiguous() for parameter in model.parameters())
