"""Prints how many files, and changes of file, a reader follows through one encoder layer and one decoding step.

    python -m lab.trace_layer [--lines]

A default model runs once with ``sys.setprofile``. What counts is every call of a Python function of the package, in the
order in which they happen, returns left out: a change of file is a call whose function stands in another file than the
function that was called before it. A layer begins with its norm and ends with its FFN. The first one also computes what
all layers share (rotary embeddings, masks). ``--lines`` prints each file with its calls.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import simmim
from simmim import SimMIMConfig, SimMIMForCausalLM, SimMIMModel

PACKAGE = str(Path(simmim.__file__).parent)
SIZES: dict[str, Any] = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "segment_length": 16}
Calls = list[tuple[str, str]]


@contextmanager
def traced_calls(calls: Calls) -> Iterator[None]:
    """Append the file and the name of every function of the package that is called meanwhile."""

    def trace(frame: FrameType, event: str, _: object) -> None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if event == "call" and file.startswith(PACKAGE):
            calls.append((str(Path(file).relative_to(PACKAGE)), name))

    sys.setprofile(trace)
    try:
        yield
    finally:
        sys.setprofile(None)


@torch.no_grad()
def encoder_layer_calls(number: int) -> Calls:
    """Return the calls of a layer of an encoder, on one document of five segments."""
    model = SimMIMModel(SimMIMConfig(**SIZES)).eval()
    calls: Calls = []
    _trace_one_call(model.layers[number], calls, lambda: model(torch.ones(1, 75, dtype=torch.long)))
    return calls


@torch.no_grad()
def decoding_step_calls(number: int | None) -> Calls:
    """Return the calls for one token after a prompt: of a layer, or of the whole model from embedding to logits."""
    model = SimMIMForCausalLM(SimMIMConfig(**SIZES)).eval()
    past = model(torch.ones(1, 75, dtype=torch.long), use_cache=True).past_key_values
    calls: Calls = []

    def step() -> object:
        return model(torch.ones(1, 1, dtype=torch.long), past_key_values=past)

    if number is not None:
        _trace_one_call(model.decoder.layers[number], calls, step)
    else:
        with traced_calls(calls):
            step()
    return calls


def _trace_one_call(module: torch.nn.Module, calls: Calls, run: Callable[[], object]) -> None:
    """Trace what happens inside of one module while a model runs."""
    forward = module.forward

    def traced(*args: object, **kwargs: object) -> object:
        with traced_calls(calls):
            return forward(*args, **kwargs)

    module.forward = traced
    run()


def changes(calls: Calls) -> int:
    """Return how often the file changes from one call to the next."""
    return len(list(groupby(file for file, _ in calls))) - 1


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", action="store_true", help="print every file with its calls")
    options = parser.parse_args()
    traces = {
        "encoder layer, the first": encoder_layer_calls(0),
        "encoder layer, a later one": encoder_layer_calls(1),
        "decoding step, the first layer": decoding_step_calls(0),
        "decoding step, a later layer": decoding_step_calls(1),
        "decoding step, the whole model": decoding_step_calls(None),
    }
    for name, calls in traces.items():
        files = Counter(file for file, _ in calls)
        print(f"{name}: {len(files)} files, {changes(calls)} changes of file, {len(calls)} calls")
        if options.lines:
            for file, group in groupby(calls, key=lambda call: call[0]):
                print(f"  {file:34}{' '.join(function for _, function in group)}")


if __name__ == "__main__":
    main()
