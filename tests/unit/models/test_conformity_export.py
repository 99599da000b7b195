"""Contract 9, exported: one program for every batch and length, and nothing of it is left behind."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.fx.experimental.proxy_tensor import make_fx

from simmim import (
    SimMIMForCausalLM,
    SimMIMForConditionalGeneration,
    SimMIMForSequenceClassification,
    SimMIMModel,
)
from simmim.models.modeling_simmim import SimMIMPreTrainedModel
from support import MODELS, family, family_model, fewest_layers, predicted

Head = type[SimMIMPreTrainedModel]
SIZES = ((1, 1, 1), (2, 7, 9), (1, 8, 8), (2, 9, 7), (4, 35, 3), (2, 16, 17), (1, 131, 5), (5, 2, 2))
"""Documents, tokens and target tokens; segments have 8."""


EXPORTED = [
    pair
    for pair in family()
    if pair[1] not in ("lstm", "two-level-copying") and (pair[1] == "default" or pair[0] in (MODELS[0], *MODELS[-2:]))
]
"""Every class, and every form of an encoder and of both decoders."""


def _quick(pair: tuple[Head, str]) -> bool:
    """Whether CI checks it: a decoder with a pyramid takes half a minute, and the encoder has the same pyramid."""
    return pair[0] is SimMIMModel or "pyramid" not in pair[1]


def inputs_of(head: Head, batch: int, tokens: int, targets: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(batch * 1000 + tokens)
    ids = torch.randint(4, 50, (batch, tokens), generator=generator)
    lengths = torch.tensor([tokens - 3 * row % tokens for row in range(batch)])
    found = {"input_ids": ids, "attention_mask": (torch.arange(tokens) < lengths[:, None]).long()}
    if head is SimMIMForConditionalGeneration:
        found["decoder_input_ids"] = torch.randint(4, 50, (batch, targets), generator=generator)
    return found


def exported(model: SimMIMPreTrainedModel, head: Head, most: int | None = None) -> torch.export.ExportedProgram:
    inputs = inputs_of(head, 3, 37, 21)
    batch, length, target = Dim("batch"), Dim("length", max=most), Dim("target", max=most)
    shapes = {name: {0: batch, 1: target if name.startswith("decoder") else length} for name in inputs}
    with torch.no_grad():
        return torch.export.export(model, (), inputs, dynamic_shapes=shapes)


def check_every_size(head: Head, variant: str, most: int | None) -> None:
    model = family_model(head, variant, torch.float32, use_cache=False, **fewest_layers(variant))
    program = exported(model, head, most)
    assert "hypot" not in program.graph_module.code
    for size in SIZES:
        inputs = inputs_of(head, *size)
        with torch.no_grad():
            expected, found = predicted(model(**inputs)), predicted(program.module()(**inputs))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(("head", "variant"), [pair for pair in EXPORTED if _quick(pair)])
def test_every_class_is_exported_for_every_batch_and_length(head: Head, variant: str) -> None:
    check_every_size(head, variant, 256)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(("head", "variant"), [pair for pair in EXPORTED if not _quick(pair)])
def test_decoders_with_pyramids_are_exported_for_every_batch_and_length(head: Head, variant: str) -> None:
    check_every_size(head, variant, 256)


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.usefixtures("unchecked_shapes")
def test_what_cannot_be_exported_for_every_length_says_so() -> None:
    with pytest.raises(ValueError, match="expected 'smi' or 'cnn' for a model that is exported, got 'lstm'"):
        exported(family_model(SimMIMModel, "lstm", torch.float32), SimMIMModel)
    head = SimMIMForConditionalGeneration
    two_level = family_model(head, "two-level-copying", torch.float32, use_cache=False)
    with pytest.raises(Exception, match="Constraints violated"):
        exported(two_level, head)


class _Prediction(nn.Module):
    """ONNX has no dictionaries: what a model says, of ids and a mask."""

    def __init__(self, model: SimMIMPreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return predicted(self.model(input_ids=input_ids, attention_mask=attention_mask))


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("head", [SimMIMModel, SimMIMForSequenceClassification])
def test_onnx_says_the_same_for_every_batch_and_length(head: Head) -> None:
    from onnx.reference import ReferenceEvaluator

    model = family_model(head, dtype=torch.float32)
    ids, mask = inputs_of(head, 3, 37, 0).values()
    shape = {0: Dim("batch"), 1: Dim("length", max=256)}
    with torch.no_grad():
        program = torch.onnx.export(
            *(_Prediction(model).eval(), (ids, mask)),
            dynamic_shapes={"input_ids": shape, "attention_mask": shape},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    runner = ReferenceEvaluator(program.model_proto)
    for size in SIZES:
        inputs = inputs_of(head, *size)
        [found] = runner.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        torch.testing.assert_close(torch.from_numpy(found), predicted(model(**inputs)), rtol=1e-4, atol=1e-4)


def _export(model: SimMIMPreTrainedModel, inputs: dict[str, Tensor]) -> None:
    torch.export.export(model, (), inputs)


def _export_without_gradients(model: SimMIMPreTrainedModel, inputs: dict[str, Tensor]) -> None:
    with torch.no_grad():
        _export(model, inputs)


def _infer(model: SimMIMPreTrainedModel, inputs: dict[str, Tensor]) -> None:
    with torch.inference_mode():
        model(**inputs)


OFTEN = ((SimMIMModel, _export_without_gradients), (SimMIMForCausalLM, _infer))
"""What every run of the tests looks at; the rest of the classes and ways is slow."""


def _fake(model: SimMIMPreTrainedModel, inputs: dict[str, Tensor]) -> None:
    weights = dict(model.named_parameters())
    call = lambda weights, inputs: predicted(torch.func.functional_call(model, weights, (), inputs))  # noqa: E731
    with torch.no_grad():
        make_fx(call, tracing_mode="fake")(weights, {"input_ids": inputs["input_ids"]})


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(("head", "trace"), [*OFTEN, (SimMIMModel, _fake), (SimMIMForCausalLM, _fake)])
def test_nothing_that_traces_a_model_changes_what_it_says_later(
    head: Head, trace: Callable[[SimMIMPreTrainedModel, dict[str, Tensor]], None]
) -> None:
    check_later_calls(head, trace)


TRACES = (_export, _export_without_gradients, _infer)
STACKS = (SimMIMModel, SimMIMForConditionalGeneration, SimMIMForCausalLM)
OTHERS = [head for head in MODELS if head not in STACKS]
"""Classes that put a layer on the encoder: each with one way of tracing, in turn."""


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("head", "trace"),
    [pair for pair in (*itertools.product(STACKS, TRACES), *zip(OTHERS, TRACES, strict=True)) if pair not in OFTEN],
)
def test_nothing_that_traces_a_class_changes_what_it_says_later(
    head: Head, trace: Callable[[SimMIMPreTrainedModel, dict[str, Tensor]], None]
) -> None:
    check_later_calls(head, trace)


def check_later_calls(head: Head, trace: Callable[[SimMIMPreTrainedModel, dict[str, Tensor]], None]) -> None:
    # Constants that another test has made under the same settings would hide the fault.
    settings: dict[str, Any] = {"norm_eps": 1e-6 + len(trace.__name__) * 1e-9, "rope_theta": 777.0, "use_cache": False}
    model = family_model(head, dtype=torch.float32, num_hidden_layers=1, num_decoder_layers=1, **settings)
    inputs = inputs_of(head, 2, 9, 9)
    trace(model, inputs)
    with torch.no_grad():
        first = predicted(model(**inputs))
    twin = family_model(head, dtype=torch.float32, num_hidden_layers=1, num_decoder_layers=1, **settings)
    with torch.no_grad():
        assert torch.equal(predicted(twin(**inputs)), first)
    if head is SimMIMForCausalLM:
        asked = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
        found = (each.generate(inputs["input_ids"], **asked) for each in (model, twin))
        assert torch.equal(next(found), next(found))
