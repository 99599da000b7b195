"""Contract 9, at work: what every class returns and takes, its maps, padding, dtypes and devices, as documented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from simmim import ShapeError, SimMIMForCausalLM, SimMIMForConditionalGeneration, SimMIMForSequenceClassification
from simmim.models.modeling_simmim import SimMIMPreTrainedModel
from simmim.nn.block import DecoderBlock, EncoderBlock
from support import (
    MODELS,
    TEXTS,
    VARIANTS,
    covering,
    family,
    family_batch,
    family_model,
    fewest_layers,
    one_of,
    predicted,
    score,
    some_of_the_family,
)

Head = type[SimMIMPreTrainedModel]
DECODING = (SimMIMForConditionalGeneration, SimMIMForCausalLM)


def outputs_of(output: Any, name: str) -> list[tuple[str, Tensor]]:
    """Return the tensors of every field of such a name, an encoder's and a decoder's, with the field's name."""
    fields = [key for key in output if key.endswith(name) and (name != "attentions" or "state" not in key)]
    return [(key, tensor) for key in fields for tensor in output[key] if tensor is not None]


def rows_of(head: Head, tensor: Tensor, mask: Tensor) -> Iterator[Tensor]:
    """Return what a prediction says of each document, without padding."""
    wide = head not in (SimMIMForConditionalGeneration, SimMIMForSequenceClassification)
    for row, held in enumerate(mask.bool()):
        yield tensor[row][held] if wide else tensor[row]


@pytest.mark.parametrize(("head", "variant"), some_of_the_family())
def test_hidden_states_are_the_embeddings_and_every_layers_output(head: Head, variant: str) -> None:
    model, batch = family_model(head, variant), family_batch(head)
    output = model(**batch, output_hidden_states=True)
    for name in [key for key in output if key.endswith("hidden_states")]:
        width = 21 if name.startswith("decoder") else 37
        assert [state.shape for state in output[name]] == [(len(TEXTS), width, 16)] * 3
    if "last_hidden_state" in output or "encoder_last_hidden_state" in output:
        prefix = "" if "last_hidden_state" in output else "encoder_"
        assert torch.equal(output[f"{prefix}hidden_states"][-1], output[f"{prefix}last_hidden_state"])
    plain = model(**batch)
    assert not any("hidden_states" in key or "attentions" in key for key in plain)
    torch.testing.assert_close(predicted(output), predicted(plain))
    values = model(**batch, return_dict=False)
    assert isinstance(values, tuple)
    assert len(values) == len(plain.to_tuple())
    found = [value for value in values if isinstance(value, Tensor) and value.shape == predicted(plain).shape]
    assert any(torch.equal(value, predicted(plain)) for value in found)


@pytest.mark.parametrize(("head", "variant"), some_of_the_family())
def test_ready_embeddings_do_as_well_as_ids_but_not_both(head: Head, variant: str) -> None:
    model, batch = family_model(head, variant, **fewest_layers(variant)), family_batch(head)
    expected = predicted(model(**batch))
    ids = batch.pop("input_ids")
    embedded = model.get_input_embeddings()(ids)
    if head is SimMIMForCausalLM and model.copy_head is not None:
        # vectors have no ids to copy: what the head over the vocabulary says is left
        expected = model.lm_head(model(**batch, input_ids=ids, output_hidden_states=True).hidden_states[-1])
        held = batch["attention_mask"].bool()
        found = predicted(model(inputs_embeds=embedded, **batch))
        torch.testing.assert_close(found[held], expected[held])
    elif model.config.copy_head:
        with pytest.raises(ShapeError, match="input_ids: a model with copy_head=True"):
            model(inputs_embeds=embedded, **batch)
    else:
        torch.testing.assert_close(predicted(model(inputs_embeds=embedded, **batch)), expected)
    with pytest.raises(ShapeError, match="exactly one of them, got both"):
        model(input_ids=ids, inputs_embeds=embedded, **batch)
    with pytest.raises(ShapeError, match="exactly one of them, got neither"):
        model(**batch)


def readable(length: int, tokens: int, segments: bool, *, causal: bool, neighbours: int) -> Tensor:
    """Return ``[N, K]`` which slots of the segment before, its own and the one after a token of a document may read."""
    place = torch.arange(tokens)[:, None]
    blocks = [0] if not (neighbours and segments) else ([-1, 0] if causal else [-1, 0, 1])
    slots = torch.cat([torch.arange(length) + length * block for block in blocks])
    read = place // length * length + slots
    return (read >= 0) & (read < tokens) & ((read <= place) if causal else torch.tensor(True))


@pytest.mark.parametrize(("head", "variant"), some_of_the_family(attentive=True))
def test_maps_are_shares_of_what_can_be_read(head: Head, variant: str) -> None:
    """Every token shares out one; padding shares out nothing and is given nothing."""
    model, batch = family_model(head, variant), family_batch(head)
    config, mask = model.config, batch["attention_mask"].bool()
    output = model(**batch, output_attentions=True)
    torch.testing.assert_close(predicted(output), predicted(model(**batch)), rtol=0, atol=1e-10)
    fields = [key for key in output if key.endswith("attentions") and "state" not in key and key != "cross_attentions"]
    own = [
        (name, *pair)
        for name in fields
        for pair in zip(output[name], output[name.replace("attentions", "state_attentions")], strict=True)
    ]
    assert len(own) == (4 if head is SimMIMForConditionalGeneration else 2)
    for i, (name, given, to_states) in enumerate(own):
        causal = head is SimMIMForCausalLM or name.startswith("decoder")
        held = torch.ones(len(TEXTS), 21, dtype=torch.bool) if name.startswith("decoder") else mask
        assert given.shape[:3] == (len(TEXTS), 2, held.shape[1])
        assert (given >= 0).all()
        total = given.sum(-1)
        if config.state_read == "attend":
            total = total + to_states.sum(-1)
            assert to_states.shape[:3] == given.shape[:3]
        torch.testing.assert_close(total, held[:, None].expand_as(total).double(), rtol=0, atol=1e-10)
        if config.state_read != "attend":
            assert to_states.shape[:2] == given.shape[:2]
            heard, one = to_states.sum(-1), to_states.new_ones(())
            assert (torch.isclose(heard, one) | (heard == 0)).all()
            # Of a document's segments all hear of others, if there are others; of a causal text all but the first.
            for row, tokens in enumerate(held.sum(1)):
                number = -(-int(tokens) // config.segment_length)
                hears = torch.arange(heard.shape[2]) < number * (number > 1)
                hears[0] &= not causal
                assert torch.equal(heard[row] > 0.5, hears.expand(2, -1)), (name, row)
        if not (config.segment_shift and i % 2):
            for row, tokens in enumerate(held.sum(1)):
                several = held.sum(1).max() > config.segment_length
                wanted = readable(8, int(tokens), several, causal=causal, neighbours=config.neighbours)
                assert torch.equal(given[row][:, held[row]] > 0, wanted.expand(2, -1, -1)), (name, row)
    for _, given in outputs_of(output, "cross_attentions"):
        torch.testing.assert_close(given.sum(-1), torch.ones_like(given[..., 0]), rtol=0, atol=1e-10)
        if config.memory == "tokens":
            assert not given.masked_select(~mask[:, None, None]).any()


@pytest.mark.parametrize(("head", "variant"), some_of_the_family(attentive=True))
def test_maps_of_a_batch_are_those_of_each_document_alone(head: Head, variant: str) -> None:
    model, batch = family_model(head, variant, **fewest_layers(variant)), family_batch(head)
    together = model(**batch, output_attentions=True)
    fields = [key for key in together if key.endswith("attentions") and "cross" not in key and "decoder" not in key]
    for row in range(len(TEXTS)):
        alone = model(**one_of(batch, row), output_attentions=True)
        held = batch["attention_mask"][row].bool()
        for name in fields:
            for found, expected in zip(together[name], alone[name], strict=True):
                # Wider where others are longer: with neighbours and with states that this document does not have.
                if expected is None:  # of a single segment no other state
                    assert not found[row].any()
                    continue
                of_tokens = found.shape[2] == len(held)
                mine = found[row][:, held] if of_tokens else found[row][:, : expected.shape[2]]
                widths = (mine.shape[-1], expected.shape[-1])
                wide, narrow = (x.sort(-1, descending=True).values for x in (mine, expected[0]))
                torch.testing.assert_close(wide[..., : widths[1]], narrow[..., : widths[0]], rtol=0, atol=1e-10)
                assert not wide[..., widths[1] :].any()
                assert not narrow[..., widths[0] :].any()
                if widths[0] == widths[1]:
                    torch.testing.assert_close(mine, expected[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("number", "head", "variant"), [(n, *pair) for n, pair in enumerate(some_of_the_family())])
def test_everything_returned_has_a_gradient(number: int, head: Head, variant: str) -> None:
    """With padding and without in turn."""
    model, batch = family_model(head, variant, **fewest_layers(variant)), family_batch(head)
    if number % 2:
        del batch["attention_mask"]
    attentive = model.config.segment_encoder == "smi"
    output = model(**batch, output_hidden_states=True, output_attentions=attentive)
    returned = [tensor for name in ("hidden_states", "attentions") for _, tensor in outputs_of(output, name)]
    returned += [tensor for _, tensor in outputs_of(output, "state_attentions")]
    for tensor in returned:
        tensor.retain_grad()
    score(output).backward()
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in returned)


@pytest.mark.contract
@pytest.mark.parametrize(("head", "variant"), some_of_the_family())
def test_a_document_depends_neither_on_its_batch_nor_on_what_stands_in_the_padding(head: Head, variant: str) -> None:
    """Contract 5 for every class: padding right, left, in between and none."""
    model, batch = family_model(head, variant, **fewest_layers(variant)), family_batch(head)
    mask = batch["attention_mask"]
    together = predicted(model(**batch))
    others = {**batch, "input_ids": batch["input_ids"].where(mask == 1, (batch["input_ids"] + 11) % 50)}
    for found, expected in zip(
        rows_of(head, predicted(model(**others)), mask), rows_of(head, together, mask), strict=True
    ):
        assert torch.equal(found, expected)
    for row, found in enumerate(rows_of(head, together, mask)):
        torch.testing.assert_close(found, predicted(model(**one_of(batch, row)))[0], rtol=0, atol=1e-10)


def stable(variant: str) -> dict[str, Any]:
    """Let a two-level memory read every segment: which are best, rounding may change."""
    return {"memory_top_k": 99} if VARIANTS[variant].get("memory") == "two_level" else {}


def moderate(model: PreTrainedModel) -> None:
    """Shrink weights to where rounding is small beside what is computed, as in a model that training keeps stable."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith("norm.weight"):
                weight.mul_(0.5)
            else:
                weight.fill_(1)


def distance(found: Tensor, exact: Tensor) -> float:
    """Return how far two tensors are apart, as a share of the second."""
    return float((found.detach().double() - exact.detach()).norm() / exact.detach().norm())


DTYPES = (torch.float32, torch.bfloat16, torch.float16)
IN_EVERY_DTYPE = [{"head": head, "variant": variant, "dtype": dtype} for head, variant in family() for dtype in DTYPES]


@pytest.mark.contract
@pytest.mark.parametrize(("head", "variant", "dtype"), [tuple(case.values()) for case in covering(IN_EVERY_DTYPE)])
def test_every_dtype_is_float64_up_to_its_rounding(
    head: Head, variant: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    """Contract 8: a loaded model of any dtype against float64 with the same (rounded) weights, and its gradients."""
    model = family_model(head, variant, **stable(variant), **fewest_layers(variant))
    moderate(model)
    model.to(dtype).save_pretrained(tmp_path)
    batch = family_batch(head)
    exact = predicted(head.from_pretrained(tmp_path, dtype=torch.float64)(**batch)).detach()
    assert exact.dtype == torch.float64
    for wanted in (dtype, "auto"):
        again = head.from_pretrained(tmp_path, dtype=wanted)
        assert again.dtype == dtype
        output = again(**batch)
        assert distance(predicted(output), exact) < 6 * torch.finfo(dtype).eps
    score(output).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in again.parameters())


@pytest.mark.parametrize(("head", "variant"), some_of_the_family())
def test_autocast_works(head: Head, variant: str) -> None:
    model, batch = (
        family_model(head, variant, torch.float32, **stable(variant), **fewest_layers(variant)),
        family_batch(head),
    )
    moderate(model)
    exact = predicted(model.double()(**batch))
    model.float()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch)
        loss = score(output)
    assert loss.dtype in ((torch.float32,) if "loss" in output else (torch.float32, torch.bfloat16))
    assert distance(predicted(output), exact) < 6 * torch.finfo(torch.bfloat16).eps
    loss.backward()
    grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert grads
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("head", MODELS)
@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}])
def test_device_maps_load(head: Head, device_map: Any, tmp_path: Path) -> None:
    model, batch = family_model(head, dtype=torch.float32), family_batch(head)
    model.save_pretrained(tmp_path)
    again = head.from_pretrained(tmp_path, device_map=device_map)
    assert {weight.device.type for weight in again.parameters()} == {"cpu"}
    torch.testing.assert_close(predicted(again(**batch)), predicted(model(**batch)))


def blocks_of(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, EncoderBlock | DecoderBlock)]


@pytest.mark.parametrize(
    ("head", "variant"), [pair for pair in family() if pair[1] in ("default", "pyramid", "two-level-copying")]
)
def test_layers_can_lie_on_disk_and_are_never_split(head: Head, variant: str, tmp_path: Path) -> None:
    from accelerate import infer_auto_device_map
    from accelerate.utils import compute_module_sizes

    model, batch = family_model(head, variant, torch.float32), family_batch(head)
    expected = predicted(model(**batch))
    model.save_pretrained(tmp_path / "model")
    sizes = compute_module_sizes(model)
    *_, last = blocks_of(model)
    room = {"cpu": sizes[""] - sizes[last] // 2, "disk": 10 * sizes[""]}
    placed = infer_auto_device_map(model, room, no_split_module_classes=list(model._no_split_modules))
    assert "disk" in placed.values()
    assert not any(name.startswith(f"{block}.") for name in placed for block in blocks_of(model))
    again = head.from_pretrained(tmp_path / "model", device_map=placed, offload_folder=tmp_path / "offloaded")
    assert {weight.device.type for weight in again.get_submodule(last).parameters()} == {"meta"}
    torch.testing.assert_close(predicted(again(**batch)), expected)
    # An attention pooling's query is not fetched for single steps, which are no call of its module.
    if head in DECODING and model.config.state_pooling != "attention":
        ids, mask = batch["input_ids"], batch["attention_mask"]
        settings = {"attention_mask": mask, "max_new_tokens": 4, "eos_token_id": None, "do_sample": False}
        assert torch.equal(again.generate(ids, **settings), model.generate(ids, **settings))
