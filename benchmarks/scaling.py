"""Measures how the encoder's cost grows with the document: counted FLOPs beside the stated ones, time and memory.

``python -m benchmarks.scaling flops`` and ``python -m benchmarks.scaling forward`` leave a record each;
``benchmarks/README.md`` says what the figures mean.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.formulas import FORMULAS
from benchmarks.measure import count_flops, fit_exponent, in_fresh_process, memory_held, run_facts
from benchmarks.report import in_short, save
from benchmarks.scaling_report import flops_table, forward_table, plot_flops, plot_forward
from simmim import SimMIMConfig, SimMIMModel

__all__ = ["compare_flops", "config_of", "fit_flops", "fit_forward", "main", "measure_forward"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
RESULTS = Path(__file__).parent / "results"
REACHES = ("all", "pyramid")
LAYERS = 6
LARGE = 2**16
"""Tokens from which time and memory are fitted a second time."""
LAST = 3
"""How many of the greatest lengths the exponents of the FLOPs are fitted to."""
ENOUGH = 20.0
"""Seconds of forward passes after which no further repeat is begun."""


def config_of(form: str, length: int, segment_length: int = 64, **changes: Any) -> SimMIMConfig:
    """Return the configuration of a form of attention.

    Args:
        form: ``full`` (one segment as long as the document), ``literal``, or the default with the states that it
            reads: ``all`` or ``pyramid``.
        length: N, tokens of the document.
        segment_length: L of all forms but ``full``.
        changes: other fields.
    """
    if form == "full":
        return SimMIMConfig(segment_length=length, **changes)
    if form == "literal":
        return SimMIMConfig.literal(segment_length=segment_length, **changes)
    return SimMIMConfig(segment_length=segment_length, state_reach=form, **changes)


def compare_flops(length: int, segment_length: int) -> dict[str, Any]:
    """Count and state the forward FLOPs of one attention layer, in every form, at one length.

    Counted on torch's meta device: the layer's own code runs, and every product is counted from its shapes, but nothing
    is computed, so no length is too great. There torch takes its fused attention apart into matrix products, for which
    ``FlopCounterMode`` has formulas.

    Args:
        length: N, tokens of the document.
        segment_length: L.
    """
    counted, stated = {}, {}
    for form, formula in FORMULAS.items():
        with torch.device("meta"):
            model = SimMIMModel(config_of(form, length, segment_length, num_hidden_layers=1), add_pooling_layer=False)
            hidden = torch.empty(1, length, model.config.hidden_size)
        counted[form] = count_flops(partial(model.get_submodule("layers.0.attention"), hidden))
        stated[form] = formula(length, segment_length, model.config.hidden_size)
    return {"length": length, "counted": counted, "stated": stated}


def fit_flops(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how far counted FLOPs lie from stated ones at worst, and the powers of N by which both grow in the end."""
    last = rows[-LAST:]
    lengths = [row["length"] for row in last]
    return {
        "worst_deviation": {
            form: max(abs(row["counted"][form] / row["stated"][form] - 1) for row in rows) for form in FORMULAS
        },
        "exponents": {
            "lengths": lengths,
            **{
                what: {form: fit_exponent(lengths, [row[what][form] for row in last]) for form in FORMULAS}
                for what in ("counted", "stated")
            },
        },
    }


def measure_forward(
    reach: str, length: int, segment_length: int, dtype: str, threads: int, repeats: int
) -> dict[str, Any]:
    """Time encoding one document without gradients, and read what memory this process held; for a fresh process.

    Args:
        reach: ``all`` or ``pyramid``.
        length: N, tokens of the document.
        segment_length: L.
        dtype: of weights and activations.
        threads: of torch.
        repeats: most passes; after ``ENOUGH`` seconds no further one is begun.

    Returns:
        The seconds of every pass and their median; the bytes held after importing, held before the first whole pass,
        and held at most, all of the whole process, None where the system does not tell.
    """
    imported = memory_held()
    torch.set_num_threads(threads)
    model, input_ids = _encoder(reach, length, segment_length, dtype), _document(length)
    seconds: list[float] = []
    with torch.inference_mode():
        model(input_ids[:, : 2 * segment_length])  # loads libraries
        ready = memory_held()
        while len(seconds) < repeats and sum(seconds) < ENOUGH:
            start = time.perf_counter()
            model(input_ids)
            seconds.append(time.perf_counter() - start)
    most = memory_held()
    return {
        "seconds": seconds,
        "median_seconds": median(seconds),
        "imported_bytes": imported and imported[0],
        "ready_bytes": ready and ready[0],
        "peak_bytes": most and most[1],
    }


def _encoder(reach: str, length: int, segment_length: int, dtype: str) -> SimMIMModel:
    torch.manual_seed(0)
    model = SimMIMModel(config_of(reach, length, segment_length, num_hidden_layers=LAYERS), add_pooling_layer=True)
    nn.Module.to(model, DTYPES[dtype])  # transformers wraps its own in a way that no type checker follows
    model.eval()
    return model


def _document(length: int) -> Tensor:
    return torch.randint(SimMIMConfig().vocab_size, (1, length), generator=torch.Generator().manual_seed(1))


def fit_forward(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return by which power of N time and memory grow with each reach: over all lengths, and over the long ones.

    Memory is fitted twice: ``peak_bytes`` of the whole process, and ``above_import_bytes``, without what was held after
    importing, which hides the growth at small lengths.
    """
    done = [row for row in rows if "failed" not in row]
    fits: dict[str, Any] = {}
    for reach in REACHES:
        points = [row for row in done if row["reach"] == reach]
        long = [row for row in points if row["length"] >= LARGE]
        fits[reach] = {
            what: {"all": _exponent(points, what), f"from {LARGE}": _exponent(long, what)}
            for what in ("median_seconds", "peak_bytes", "above_import_bytes")
        }
    return fits


def _exponent(points: Sequence[dict[str, Any]], what: str) -> float | None:
    if any(row["peak_bytes"] is None for row in points) and what != "median_seconds":
        return None
    above = what == "above_import_bytes"
    costs = [row["peak_bytes"] - row["imported_bytes"] if above else row[what] for row in points]
    if any(cost <= 0 for cost in costs):  # a short pass may fit into memory that the imports left free
        return None
    return fit_exponent([row["length"] for row in points], costs)


def run_flops(arguments: argparse.Namespace, console: Console) -> bool:
    """Count at every length, and write and print the record; always successful."""
    command = f"python -m benchmarks.scaling flops --lengths {_joined(arguments.lengths)}"
    command += f" --segment-length {arguments.segment_length}"
    config = SimMIMConfig()
    record = run_facts("scaling-flops", command) | {
        "device": "meta",
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_attention_heads,
        "segment_length": arguments.segment_length,
    }
    rows = [compare_flops(length, arguments.segment_length) for length in arguments.lengths]
    record |= {"lengths": rows, **fit_flops(rows)}
    console.print(flops_table(record))
    data, picture = save(record, arguments.out / f"{record['date']}-scaling-flops", plot_flops)
    console.print(f"written: {data} and {picture.name}", soft_wrap=True)
    return True


def run_forward(arguments: argparse.Namespace, console: Console) -> bool:
    """Measure every length in a process of its own, and write the record after each; return whether all went well."""
    taken = (arguments.segment_length, arguments.dtype, arguments.threads, arguments.repeats)
    command = f"python -m benchmarks.scaling forward --lengths {_joined(arguments.lengths)}"
    command += " --segment-length {} --dtype {} --threads {} --repeats {}".format(*taken)
    torch.set_num_threads(arguments.threads)
    model = _encoder("all", 1, *taken[:2])
    record = run_facts("scaling-forward", command) | {
        "dtype": arguments.dtype,
        "hidden_size": model.config.hidden_size,
        "num_hidden_layers": LAYERS,
        "segment_length": arguments.segment_length,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "points": [],
    }
    del model
    stem = arguments.out / f"{record['date']}-scaling-forward-{arguments.dtype}"
    for length in arguments.lengths:
        for reach in REACHES:
            with console.status(f"{in_short(length)} tokens, {reach}"):
                row = {"length": length, "reach": reach, **_point(reach, length, *taken)}
            console.print(_said(row), soft_wrap=True)
            record["points"].append(row)
            record["exponents"] = fit_forward(record["points"])
            written = save(record, stem, plot_forward)
    console.print(forward_table(record))
    console.print(f"written: {written[0]} and {written[1].name}", soft_wrap=True)
    return all("failed" not in row for row in record["points"])


def _point(*arguments: object) -> dict[str, Any]:
    """Measure in a fresh process; a size that is too great for the machine must not cost the figures of the others."""
    try:
        measured: dict[str, Any] = in_fresh_process(measure_forward, *arguments)
    except (RuntimeError, MemoryError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    return measured


def _said(row: dict[str, Any]) -> str:
    head = f"{in_short(row['length'])} tokens, {row['reach']}: "
    if "failed" in row:
        return head + f"failed: {row['failed']}"
    memory = "" if row["peak_bytes"] is None else f", {row['peak_bytes'] / 1e9:.2f} GB"
    return head + f"{row['median_seconds']:.2f} s ({len(row['seconds'])} passes){memory}"


def _joined(numbers: Sequence[int]) -> str:
    return " ".join(str(number) for number in numbers)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    commands = parser.add_subparsers(required=True)
    flops = commands.add_parser("flops", help="count the FLOPs of one attention layer in every form")
    flops.set_defaults(run=run_flops)
    forward = commands.add_parser("forward", help="time and memory of encoding one document")
    forward.set_defaults(run=run_forward)
    for command, lengths, segment in ((flops, range(12, 25), 64), (forward, range(12, 21, 2), 512)):
        command.add_argument(
            "--lengths", type=int, nargs="+", default=[2**power for power in lengths], help="tokens of the document"
        )
        command.add_argument("--segment-length", type=int, default=segment, help="L, tokens of a segment")
        command.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    forward.add_argument("--dtype", choices=DTYPES, default="float32", help="of weights and activations")
    forward.add_argument("--threads", type=int, default=2, help="of torch")
    forward.add_argument("--repeats", type=int, default=5, help=f"most passes; none begins after {ENOUGH:.0f} seconds")
    arguments = parser.parse_args(argv)
    for name in ("segment_length", "threads", "repeats"):
        if getattr(arguments, name, 1) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected 1 or more, got {getattr(arguments, name)}")
    arguments.lengths = sorted(set(arguments.lengths))
    for length in arguments.lengths:
        if length < 1:
            parser.error(f"--lengths: expected 1 or more, got {length}")
        segments, rest = divmod(length, arguments.segment_length)
        if arguments.run is run_flops and (rest or segments < 2):  # what the formulas are stated for
            parser.error(f"--lengths: expected two or more whole segments of {arguments.segment_length}, got {length}")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the two benchmarks, write its results and print them; end with 1 if a point could not be measured."""
    arguments = _arguments(argv)
    if not arguments.run(arguments, Console()):
        sys.exit(1)


if __name__ == "__main__":
    main()
