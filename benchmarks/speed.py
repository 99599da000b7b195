"""Compares the time, the FLOPs and the memory of SimMIM's encoder with those of the same encoder under full attention.

``python -m benchmarks.speed`` runs everything; ``benchmarks/README.md`` says what the figures mean.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from transformers import PreTrainedModel

from benchmarks.measure import (
    PairedTimes,
    count_flops,
    git_commit,
    machine_facts,
    paired_times,
    peak_memory,
    today,
)
from benchmarks.report import save, table
from simmim import SimMIMConfig, SimMIMModel

__all__ = [
    "DTYPES",
    "RESULTS",
    "build",
    "compare",
    "document",
    "forward",
    "main",
    "measure_memory",
    "positive",
    "training_step",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
RESULTS = Path(__file__).parent / "results"


def build(encoder: str, length: int, dtype: str) -> SimMIMModel:
    """Build an encoder for documents of one length; the same weights whichever it is.

    Args:
        encoder: ``simmim``, the default preset, or ``full``, which has one segment as long as the document: torch's own
            fused attention over all tokens, without a mask.
        length: N, tokens of the document.
        dtype: ``float32`` or ``bfloat16``, of weights and activations.
    """
    torch.manual_seed(0)
    config = SimMIMConfig() if encoder == "simmim" else SimMIMConfig(segment_length=length)
    model = SimMIMModel(config, add_pooling_layer=False)
    nn.Module.to(model, DTYPES[dtype])  # transformers wraps its own in a way that no type checker follows
    return model


def document(length: int) -> Tensor:
    """Return ``[1, N]`` random token ids."""
    return torch.randint(SimMIMConfig().vocab_size, (1, length), generator=torch.Generator().manual_seed(1))


def training_step(model: PreTrainedModel, input_ids: Tensor) -> None:
    """Run forward and backward, and drop the gradients, as a training step does around its optimizer."""
    model(input_ids).last_hidden_state.sum().backward()
    model.zero_grad()


@torch.inference_mode()
def forward(model: PreTrainedModel, input_ids: Tensor) -> None:
    """Encode without gradients."""
    model(input_ids)


def measure_memory(encoder: str, length: int, dtype: str, threads: int) -> Callable[[], None]:
    """Return the training step whose memory ``peak_memory`` measures, after a short one that loads libraries."""
    torch.set_num_threads(threads)
    model, input_ids = build(encoder, length, dtype), document(length)
    training_step(model, input_ids[:, : 2 * SimMIMConfig().segment_length])
    return partial(training_step, model, input_ids)


def compare(length: int, repeats: int, dtype: str, threads: int) -> dict[str, Any]:
    """Measure both encoders at one length.

    Args:
        length: N, tokens of the document.
        repeats: timed pairs.
        dtype: of weights and activations.
        threads: of torch.
    """
    simmim, full, input_ids = build("simmim", length, dtype), build("full", length, dtype), document(length)
    full.load_state_dict(simmim.state_dict())
    ours, theirs = partial(training_step, simmim, input_ids), partial(training_step, full, input_ids)
    forwards = paired_times(partial(forward, simmim, input_ids), partial(forward, full, input_ids), repeats)
    return {
        "length": length,
        "training_step": _times(paired_times(ours, theirs, repeats)),
        "forward": _times(forwards),
        "flops": {"simmim": count_flops(ours), "full": count_flops(theirs)},
        "peak_memory": {name: peak_memory(measure_memory, name, length, dtype, threads) for name in ("simmim", "full")},
    }


def _times(pairs: PairedTimes) -> dict[str, Any]:
    ratios = pairs.ratios
    return {
        "median_seconds": dict(zip(("simmim", "full"), pairs.medians, strict=True)),
        "full_over_simmim": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "seconds": {"simmim": pairs.a, "full": pairs.b},
    }


def describe(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what a reader needs to know of a run to judge or repeat it."""
    lengths = " ".join(str(length) for length in arguments.lengths)
    command = (
        f"python -m benchmarks.speed --lengths {lengths} --repeats {arguments.repeats}"
        f" --dtype {arguments.dtype} --threads {arguments.threads}"
    )
    config = SimMIMConfig()
    ours = {name: getattr(config, name) for name in SimMIMConfig.__annotations__}
    model = build("simmim", 1, arguments.dtype)
    return {
        "benchmark": "speed-encoder",
        "date": today(),
        "command": command,
        "commit": git_commit(),
        "machine": machine_facts(),
        "dtype": arguments.dtype,
        "batch": 1,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "configs": {"simmim": ours, "full": {**ours, "segment_length": "the length of the document"}},
    }


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--lengths", type=positive, nargs="+", default=[512, 2048, 8192], help="tokens of the document")
    parser.add_argument("--repeats", type=positive, default=7, help="timed pairs at each length")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of weights and activations")
    parser.add_argument("--threads", type=positive, default=2, help="of torch")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    """Read an option that is a whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text}")
    return number


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, write its results and print them."""
    arguments = _arguments(argv)
    torch.set_num_threads(arguments.threads)
    console = Console()
    record = describe(arguments) | {"lengths": []}
    for length in sorted(set(arguments.lengths)):
        with console.status(f"{length:,} tokens"):
            record["lengths"].append(compare(length, arguments.repeats, arguments.dtype, arguments.threads))
    data, picture = save(record, arguments.out / f"{record['date']}-speed-encoder-{arguments.dtype}")
    console.print(table(record))
    console.print(f"written: {data} and {picture.name}", soft_wrap=True)


if __name__ == "__main__":
    main()
