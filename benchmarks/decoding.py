"""Compares the time of a token and the size of the cache, context by context, with those of other language models.

``python -m benchmarks.decoding context`` and ``python -m benchmarks.decoding million`` leave a record each;
``benchmarks/README.md`` says what the figures mean.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from benchmarks.decoding_models import (
    FORMS,
    LAYERS,
    OURS,
    SEGMENT,
    SIZES,
    Decoder,
    build,
    bytes_of,
    parameters,
    prompt,
    read_prompt,
)
from benchmarks.decoding_report import context_table, million_table, plot_context
from benchmarks.formulas import cache_numbers, table_bytes
from benchmarks.measure import in_fresh_process, memory_held, run_facts
from benchmarks.report import in_short, save, save_data

__all__ = ["compare", "main", "read_million"]

RESULTS = Path(__file__).parent / "results"
BURST = 8
"""Tokens that a model writes when it is its turn, after one untimed, which brings its code and weights back."""


def compare(builds: Iterable[dict[str, Decoder]], repeats: int) -> dict[str, Any]:
    """Time the tokens of several models, which take turns, each beginning a round as often as the others.

    Args:
        builds: the same models at the same context, built one or more times: where their weights happen to lie in
            memory is worth some percent, for as long as they live.
        repeats: turns of each build; ``BURST`` tokens are timed in a turn.
    """
    seconds: dict[str, list[float]] = {}
    turn = 0
    for decoders in builds:
        forms = list(decoders)
        for _ in range(repeats):
            for form in forms[turn % len(forms) :] + forms[: turn % len(forms)]:
                decoders[form].step()
                for _ in range(BURST):
                    start = time.perf_counter()
                    decoders[form].step()
                    seconds.setdefault(form, []).append(time.perf_counter() - start)
            turn += 1
    turns = {
        form: [statistics.median(times[i : i + BURST]) for i in range(0, len(times), BURST)]
        for form, times in seconds.items()
    }
    ratios: dict[str, dict[str, Any]] = {}
    for ours in OURS:
        ratios[ours] = {}
        for form in seconds:
            pairs = [theirs / own for theirs, own in zip(turns[form], turns[ours], strict=True)]
            ratios[ours][form] = {"median": statistics.median(pairs), "min": min(pairs), "max": max(pairs)}
    return {
        "median_seconds": {form: statistics.median(times) for form, times in seconds.items()},
        "mean_seconds": {form: statistics.mean(times) for form, times in seconds.items()},
        "over": ratios,
        "seconds": seconds,
    }


def at_context(
    length: int, before: dict[str, Any] | None, arguments: argparse.Namespace, layers: int = LAYERS
) -> dict[str, Any]:
    """Bring every model to a context, by reading if that is done in time, and compare them there.

    Args:
        length: tokens of the prompt.
        before: what this returned for the length before, of which the time of reading is foretold.
        arguments: ``builds``, ``repeats``, ``threads`` and ``limit`` of the command line.
        layers: of the models.
    """
    read: dict[str, Any] = {}
    held: dict[str, int] = {}

    def build(folder: Path) -> dict[str, Decoder]:
        decoders = {}
        for form in FORMS:
            decoders[form] = Decoder(form, layers)
            if (folder / form).exists():
                decoders[form].cache = torch.load(folder / form, weights_only=False)
            else:
                decoders[form].fill(length)
            held.setdefault(form, bytes_of(decoders[form].cache))
        return decoders

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form in FORMS:
            expected = _foretold(form, length, before)
            if form in OURS or (expected is not None and expected <= arguments.limit):
                read[form] = in_fresh_process(read_prompt, form, length, arguments.threads, layers, folder / form)
        compared = compare((build(folder) for _ in range(arguments.builds)), arguments.repeats)
    return {
        "length": length,
        "prompt": {form: read.get(form, "filled with random numbers") for form in FORMS},
        "cache_bytes": held,
        "stated_bytes": {
            form: 4 * layers * cache_numbers(form, length, SEGMENT, SIZES["hidden_size"]) + table_bytes()
            for form in OURS
        },
        **compared,
    }


def _foretold(form: str, length: int, before: dict[str, Any] | None) -> float | None:
    """Return the seconds that reading should take at most; None if that of the length before was not read."""
    if before is None:
        return 0.0
    read = before["prompt"][form]
    power = 2 if form == "llama" else 1
    return None if isinstance(read, str) else read["seconds"] * (length / before["length"]) ** power


class _Clock(BaseStreamer):
    """Notes when every token came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Do nothing."""


def read_million(reach: str, length: int, new_tokens: int, threads: int, layers: int) -> dict[str, Any]:
    """Have ``generate`` read a prompt and go on; for a fresh process, of which all memory is counted.

    Args:
        reach: ``all`` or ``pyramid``.
        length: tokens of the prompt.
        new_tokens: tokens to write, 2 or more.
        threads: of torch.
        layers: of the model.
    """
    imported = memory_held()
    torch.set_num_threads(threads)
    model: Any = build(reach, layers)
    ids, clock = prompt(length), _Clock()
    start = time.perf_counter()
    output = model.generate(
        ids, max_new_tokens=new_tokens, do_sample=False, streamer=clock, return_dict_in_generate=True
    )
    most = memory_held()
    steps = [after - before for before, after in zip(clock.times[1:], clock.times[2:], strict=False)]
    return {
        "reach": reach,
        "length": length,
        "new_tokens": output.sequences.shape[1] - length,
        "read_seconds": clock.times[1] - start,
        "median_seconds": statistics.median(steps),
        "cache_bytes": bytes_of(output.past_key_values),
        "stated_bytes": 4 * layers * cache_numbers(reach, length + new_tokens - 1, SEGMENT, SIZES["hidden_size"])
        + table_bytes(),
        "imported_bytes": imported and imported[0],
        "peak_bytes": most and most[1],
    }


def _common(arguments: argparse.Namespace) -> str:
    """Write what both commands take."""
    few = f" --layers {arguments.layers}" if arguments.layers != LAYERS else ""
    return f" --threads {arguments.threads}{few}"


def run_context(arguments: argparse.Namespace, console: Console) -> None:
    """Compare at every length, and write the record after each."""
    lengths = " ".join(str(length) for length in arguments.lengths)
    command = f"python -m benchmarks.decoding context --lengths {lengths} --builds {arguments.builds}"
    command += f" --repeats {arguments.repeats} --limit {arguments.limit:g}{_common(arguments)}"
    torch.set_num_threads(arguments.threads)
    record = run_facts("decoding-context", command) | {
        "dtype": "float32",
        "segment_length": SEGMENT,
        "hidden_size": SIZES["hidden_size"],
        "num_hidden_layers": arguments.layers,
        "parameters": {form: parameters(build(form, arguments.layers)) for form in FORMS},
        "lengths": [],
    }
    before = None
    for length in arguments.lengths:
        with console.status(f"{in_short(length)} tokens"):
            before = at_context(length, before, arguments, arguments.layers)
        record["lengths"].append(before)
        data, picture = save(record, arguments.out / f"{record['date']}-decoding-context", plot_context)
    console.print(context_table(record))
    console.print(f"written: {data} and {picture.name}", soft_wrap=True)


def run_million(arguments: argparse.Namespace, console: Console) -> None:
    """Read a long prompt and go on, in a process of its own."""
    command = f"python -m benchmarks.decoding million --reach {arguments.reach} --length {arguments.length}"
    command += f" --new-tokens {arguments.new_tokens}{_common(arguments)}"
    torch.set_num_threads(arguments.threads)
    taken = (arguments.reach, arguments.length, arguments.new_tokens, arguments.threads, arguments.layers)
    with console.status(f"{in_short(arguments.length)} tokens"):
        found = in_fresh_process(read_million, *taken)
    record = run_facts("decoding-million", command) | {
        "dtype": "float32",
        "segment_length": SEGMENT,
        "num_hidden_layers": arguments.layers,
        "parameters": parameters(build(arguments.reach, arguments.layers)),
        **found,
    }
    data = save_data(record, arguments.out / f"{record['date']}-decoding-million-{arguments.reach}")
    console.print(million_table(record))
    console.print(f"written: {data}", soft_wrap=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    context = commands.add_parser("context", help="time of a token and size of the cache at growing contexts")
    context.add_argument("--lengths", type=int, nargs="+", default=[2**n for n in (10, 12, 14, 16, 18)])
    context.add_argument("--builds", type=int, default=6, help="how often the models are built anew")
    context.add_argument("--repeats", type=int, default=3, help=f"turns of each model in a build, of {BURST} tokens")
    context.add_argument("--limit", type=float, default=600, help="seconds that reading a peer's prompt may take")
    million = commands.add_parser("million", help="a prompt of a million tokens, read and continued")
    million.add_argument("--reach", choices=OURS, default="pyramid")
    million.add_argument("--length", type=int, default=2**20, help="tokens of the prompt")
    million.add_argument("--new-tokens", type=int, default=64, help="tokens to write")
    for command, run in ((context, run_context), (million, run_million)):
        command.add_argument("--threads", type=int, default=2, help="of torch")
        command.add_argument("--layers", type=int, default=LAYERS, help="of the models; fewer for a quick look")
        command.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
        command.set_defaults(run=run)
    arguments = parser.parse_args(argv)
    if arguments.run is run_context:
        arguments.lengths = sorted(set(arguments.lengths))
    for name, least in (
        ("lengths", 2 * SEGMENT),
        ("length", 1),
        ("new_tokens", 3),
        ("builds", 1),
        ("repeats", 1),
        ("layers", 1),
    ):
        given = getattr(arguments, name, None)
        for number in given if isinstance(given, list) else [] if given is None else [given]:
            if number < least:
                parser.error(f"--{name.replace('_', '-')}: expected {least} or more, got {number}")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the benchmarks, write its results and print them."""
    arguments = _arguments(argv)
    arguments.run(arguments, Console())


if __name__ == "__main__":
    main()
