"""Prompts of any length and padding are read in bounded memory; what cannot be continued is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from simmim import ShapeError, SimMIMForCausalLM
from simmim.models.prompts import checked_prompt
from simmim.ops.ngrams import BUCKETS, KEPT, LONGEST
from support import family_model

SETTINGS: dict[str, Any] = {"do_sample": False, "eos_token_id": None, "max_new_tokens": 3}


@pytest.fixture
def model() -> SimMIMForCausalLM:
    found = family_model(SimMIMForCausalLM)
    assert isinstance(found, SimMIMForCausalLM)
    return found


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(4, 50, (2, 40), generator=torch.Generator().manual_seed(1))


def test_padding_of_what_is_new_is_moved_left_and_nothing_else() -> None:
    ids = torch.tensor([[9, 9, 1, 2, 3, 9], [9, 9, 4, 9, 5, 6]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 0], [1, 1, 1, 0, 1, 1]])

    class Past:
        def get_seq_length(self) -> int:
            return 2

    kwargs = {"attention_mask": mask, "past_key_values": Past()}
    moved = checked_prompt(ids, kwargs, 6, align=True)
    assert moved.tolist() == [[9, 9, 9, 1, 2, 3], [9, 9, 9, 4, 5, 6]]
    assert kwargs["attention_mask"].tolist() == [[0, 1, 0, 1, 1, 1], [1, 1, 0, 1, 1, 1]]
    kwargs["attention_mask"] = mask
    assert checked_prompt(ids[:, 2:], kwargs, 6, align=True).tolist() == [[9, 1, 2, 3], [9, 4, 5, 6]]
    kwargs["attention_mask"] = mask
    assert checked_prompt(ids, kwargs, 6, align=False) is ids
    assert kwargs["attention_mask"] is mask


def test_what_cannot_be_continued_is_refused(model: SimMIMForCausalLM, ids: Tensor) -> None:
    """An empty prompt, a row without a token, a cache that holds the text already or more, and too few rows of it."""
    with pytest.raises(ShapeError, match=r"input_ids: expected a prompt of one token or more, got \[2, 0\]"):
        model.generate(ids[:, :0], **SETTINGS)
    mask = torch.ones_like(ids)
    mask[1] = 0
    with pytest.raises(
        ShapeError, match=r"attention_mask: expected a token in every row of the prompt, got none in \[1"
    ):
        model.generate(ids, attention_mask=mask, **SETTINGS)
    with torch.no_grad():
        cache = model(ids).past_key_values
    wrong = r"past_key_values: expected a cache that holds less than the text, got one of 40 tokens with input_ids of "
    for tokens in (40, 3):
        with pytest.raises(ShapeError, match=wrong + str(tokens)):
            model.generate(ids[:, :tokens], past_key_values=cache, **SETTINGS)
    with pytest.raises(ShapeError, match=wrong + "3 and an attention_mask of 50"):
        model.generate(ids[:, :3], attention_mask=torch.ones(2, 50), past_key_values=cache, **SETTINGS)
    for rows, tokens in ((1, 1), (4, 1), (4, 5)):
        new = torch.full((rows, tokens), 7)
        match = rf"past_key_values: expected the cache of {rows} documents, .* got one of 2"
        with pytest.raises(ShapeError, match=match):
            model(new, past_key_values=cache)
        with pytest.raises(ShapeError, match=match):
            model.generate(new, attention_mask=torch.ones(rows, 40 + tokens), past_key_values=cache, **SETTINGS)
    assert cache.get_seq_length() == 40, "nothing was read"
    assert model.generate(torch.cat((ids, ids[:, :1]), 1), past_key_values=cache, **SETTINGS).shape == (2, 44)


@pytest.mark.parametrize("cached", [True, False])
def test_a_prompt_is_looked_at_with_and_without_cache(cached: bool, model: SimMIMForCausalLM, ids: Tensor) -> None:
    with pytest.raises(ShapeError, match="one token or more"):
        model.generate(ids[:, :0], use_cache=cached, **SETTINGS)


def test_a_cache_that_inference_mode_made_goes_on_outside(model: SimMIMForCausalLM, ids: Tensor) -> None:
    with torch.inference_mode():
        cache = model(ids[:, :30], use_cache=True).past_key_values
    expected = model.generate(ids, **SETTINGS)
    assert torch.equal(model.generate(ids, past_key_values=copy.deepcopy(cache), **SETTINGS), expected)
    logits = model(ids[:, 30:31], past_key_values=cache).logits
    torch.testing.assert_close(logits, model(ids[:, :31]).logits[:, -1:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("variant", ["default", "pyramid"])
def test_half_precision_goes_on_from_a_cache(variant: str, dtype: torch.dtype, ids: Tensor) -> None:
    """Weights in half precision, and autocast: a step is the whole pass up to rounding."""
    half = family_model(SimMIMForCausalLM, variant, dtype)
    single = family_model(SimMIMForCausalLM, variant, torch.float32)
    for model, autocast in ((half, False), (single, dtype == torch.bfloat16)):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            whole = model(ids, use_cache=False).logits
            cache = model(ids[:, :30]).past_key_values
            steps = [model(ids[:, t : t + 1], past_key_values=cache).logits for t in range(30, 40)]
        exact = family_model(SimMIMForCausalLM, variant)(ids).logits[:, 30:]
        error = (torch.cat(steps, 1) - exact).abs().max()
        assert error <= 2 * (whole[:, 30:] - exact).abs().max() + 1e-4


class Largest(TorchDispatchMode):
    """Remembers the most numbers of any floating-point tensor, and the most rows of any other, that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.floats, self.others = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self.floats = max(self.floats, tensor.numel())
            elif isinstance(tensor, Tensor):
                self.others = max(self.others, tensor.numel())
        return made


@pytest.mark.parametrize(("copying", "table"), [(False, 0), (None, LONGEST * (BUCKETS + 1) * KEPT)])
def test_memory_of_a_long_prompt_is_that_of_its_parts(
    copying: bool | None, table: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing grows with the text but ids, mask and what sorts them (N numbers each), and the nodes read: log N."""
    monkeypatch.setattr("simmim.models.transformers_hooks.PREFILL_CHUNK", 64)
    model = family_model(SimMIMForCausalLM, "pyramid", torch.float32, copy_head=copying)
    seen = []
    for tokens, padding in ((512, 3), (1024, 0)):
        ids = torch.randint(4, 50, (1, tokens))
        mask = (torch.arange(tokens) < tokens - padding).long()[None]
        with Largest() as largest:
            model.generate(ids, attention_mask=mask, **SETTINGS)
        assert largest.others == table if table else largest.others < 2048
        seen.append(largest.floats)
    assert seen[0] <= seen[1] < 1.25 * seen[0] < 10_000
