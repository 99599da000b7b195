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


def in_a_process_of_its_own(backend: str, pairs: list[tuple[str, str]]) -> None:
    """Run pairs of a class and a variant."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, backend, *(word for pair in pairs for word in pair)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split("\n")[:-1] == [f"{head} {variant} ok" for head, variant in pairs]


def variants_of(head: str) -> list[str]:
    """Return all variants of a class but ``lstm``: torch does not compile its packed sequences."""
    return [variant for cls, variant in family() if cls.__name__ == head and variant != "lstm"]


HEADS = [head.__name__ for head in MODELS]


@pytest.mark.slow
@pytest.mark.contract
def test_every_class_compiles_to_one_graph() -> None:
    """In one process: its start costs more than a class."""
    in_a_process_of_its_own("aot_eager", [(head, "default") for head in HEADS])


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_every_variant_of_every_class_compiles_to_one_graph(head: str) -> None:
    in_a_process_of_its_own("aot_eager", [(head, variant) for variant in variants_of(head)[1:]])


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.parametrize("head", ["SimMIMModel", "SimMIMForConditionalGeneration"])
def test_what_inductor_makes_of_it_says_the_same(head: str) -> None:
    in_a_process_of_its_own("inductor", [(head, "default")])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, kind in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
        torch.manual_seed(0)
        torch._dynamo.reset()
        run_compiled(name, kind, sys.argv[1])
