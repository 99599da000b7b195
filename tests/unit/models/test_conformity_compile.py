"""Contract 9, compiled: one graph a class, the same outputs and gradients; in processes of their own.

This file is also the program that those processes run: the shape checks of the other tests do not compile.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from support import MODELS, family, family_batch, family_model, fewest_layers, predicted, score


def run_compiled(head: str, variant: str, backend: str) -> None:
    """Compare a compiled model with an eager one, and let another mask and other tokens compile nothing."""
    found = next(cls for cls in MODELS if cls.__name__ == head)
    model, batch = family_model(found, variant, **fewest_layers(variant)), family_batch(found)
    whole = {name: tensor for name, tensor in batch.items() if name != "attention_mask"}
    others = {**batch, "input_ids": batch["input_ids"].flip(1), "attention_mask": batch["attention_mask"].flip(1)}
    if "labels" in batch and batch["labels"].shape == batch["input_ids"].shape:
        others["labels"] = batch["labels"].flip(1)
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend=backend)

    def results(run: torch.nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
        model.zero_grad()
        output = run(**inputs)
        (score(output) + predicted(output).square().mean()).backward()
        grads = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
        return [predicted(output)[batch["attention_mask"].shape != predicted(output).shape[:2]].detach(), *grads]

    for inputs, again in ((whole, False), (batch, False), (others, True)):
        with torch._dynamo.config.patch(error_on_recompile=again):
            pairs = list(zip(results(model, inputs), results(compiled, inputs), strict=True))
        for eager, fast in pairs:
            assert (eager - fast).norm() <= 1e-5 * eager.norm() + 1e-9, (head, variant, again)
    print(f"{head} {variant} ok")


def in_a_process_of_its_own(head: str, backend: str, variants: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, head, backend, *variants]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split("\n")[:-1] == [f"{head} {variant} ok" for variant in variants]


def variants_of(head: str) -> list[str]:
    """Return all variants of a class but ``lstm``: torch does not compile its packed sequences."""
    return [variant for cls, variant in family() if cls.__name__ == head and variant != "lstm"]


HEADS = [head.__name__ for head in MODELS]
STACKS = ["SimMIMModel", "SimMIMForConditionalGeneration", "SimMIMForCausalLM"]
"""An encoder and both decoders; the other classes put a layer on the encoder."""


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.parametrize("head", HEADS)
def test_every_class_compiles_to_one_graph(head: str) -> None:
    """Every class, and every variant of an encoder and of both decoders."""
    in_a_process_of_its_own(head, "aot_eager", variants_of(head) if head in STACKS else ["default"])


@pytest.mark.slow
@pytest.mark.parametrize("head", sorted({*HEADS} - {*STACKS}))
def test_every_variant_of_every_other_class_compiles_to_one_graph(head: str) -> None:
    in_a_process_of_its_own(head, "aot_eager", variants_of(head)[1:])


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.parametrize("head", ["SimMIMModel", "SimMIMForConditionalGeneration"])
def test_what_inductor_makes_of_it_says_the_same(head: str) -> None:
    in_a_process_of_its_own(head, "inductor", ["default"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[3:]:
        torch.manual_seed(0)
        torch._dynamo.reset()
        run_compiled(sys.argv[1], name, sys.argv[2])
