"""Measures what padding costs: a padded batch of documents of many lengths beside the same documents one by one.

``python -m benchmarks.padding`` runs everything; ``benchmarks/README.md`` says what the figures mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.measure import count_flops, keep_freed_memory, paired_times, run_facts
from benchmarks.report import FORMS, save
from benchmarks.scaling import config_of
from simmim import SimMIMModel

__all__ = ["Batch", "compare", "drawn_lengths", "main", "plot", "table", "worst_ratios"]

LENGTHS = (100, 500, 1000, 2000, 4000, 8000)
SHOWN = ("literal", "all", "pyramid")
PASSES = ("forward", "training_step")
COSTS = {"flops": "FLOPs", "seconds": "time"}
GOAL = 1.15
Inputs = Sequence[tuple[Tensor, Tensor | None]]
"""Ids and mask of batches to be encoded one after the other."""
RESULTS = Path(__file__).parent / "results"


class Batch:
    """Documents of random tokens, in the three shapes in which they are encoded.

    Args:
        lengths: tokens of each document.
        vocab_size: ids are below it.

    Attributes:
        alone: ``[1, N_b]`` of every document, without a mask.
        padded: ``[B, N_max]``, with ids of 0 at padding, which stands on the right.
        mask: ``[B, N_max]``, true for tokens.
        dense: ``[1, N_max]`` of every document, as if it were as long as the longest: what padding costs if nothing is
            done about it. Row by row, since all rows at once need more memory than there may be.
    """

    def __init__(self, lengths: Sequence[int], vocab_size: int) -> None:
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(vocab_size, (len(lengths), max(lengths)), generator=generator)
        self.dense = list(ids.split(1))
        self.alone = [row[:, :length] for row, length in zip(self.dense, lengths, strict=True)]
        self.mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        self.padded = ids * self.mask


def drawn_lengths(count: int, least: int, most: int) -> list[int]:
    """Return random lengths from ``least`` to ``most``, the same every time (seed 0)."""
    return torch.randint(least, most + 1, (count,), generator=torch.Generator().manual_seed(0)).tolist()


def encode(model: SimMIMModel, inputs: Inputs) -> None:
    """Encode batches one after the other, without gradients."""
    with torch.inference_mode():
        for input_ids, mask in inputs:
            model(input_ids, attention_mask=mask)


def train(model: SimMIMModel, inputs: Inputs) -> None:
    """Run forward and backward of batches one after the other, as if to sum their gradients, and drop these."""
    for input_ids, mask in inputs:
        model(input_ids, attention_mask=mask).last_hidden_state.sum().backward()
    model.zero_grad()


def compare(form: str, lengths: Sequence[int], repeats: int) -> dict[str, Any]:
    """Measure forward pass and training step of one form of attention on one batch.

    Args:
        form: ``literal``, ``all`` or ``pyramid``.
        lengths: tokens of each document.
        repeats: timed pairs.

    Returns:
        For each pass, FLOPs and seconds (of every pair) of the documents alone, padded and dense, and the ratios of
        padded and of dense to alone: that of the FLOPs, and the median of the pairs' times.
    """
    torch.manual_seed(0)
    model = SimMIMModel(config_of(form, max(lengths)), add_pooling_layer=False)
    batch = Batch(lengths, model.config.vocab_size)
    passes = {"forward": partial(encode, model), "training_step": partial(train, model)}
    return {name: _beside(run, batch, repeats) for name, run in passes.items()}


def _beside(run: Callable[[Inputs], None], batch: Batch, repeats: int) -> dict[str, Any]:
    alone = partial(run, [(document, None) for document in batch.alone])
    padded, dense = partial(run, [(batch.padded, batch.mask)]), partial(run, [(row, None) for row in batch.dense])
    own = count_flops(alone)
    found: dict[str, Any] = {"flops_alone": own}
    for name, other in (("padded", padded), ("dense", dense)):
        flops = count_flops(other)
        times = paired_times(alone, other, repeats)
        found[name] = {
            "flops": flops,
            "seconds_alone": times.a,
            "seconds": times.b,
            "over_alone": {"flops": flops / own, "seconds": median(times.ratios)},
        }
    return found


def worst_ratios(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return by how many times a padded batch costs more than its documents at worst, in FLOPs and in time."""
    return {cost: max(row[name]["padded"]["over_alone"][cost] for row in rows for name in PASSES) for cost in COSTS}


def table(record: dict[str, Any]) -> Table:
    """Return the ratios as a table for the terminal."""
    machine = record["machine"]
    shown = Table(title=f"{record['command']}\n{machine['processor']}, {machine['threads']} thread(s)")
    headings = [f"{shape}\n{cost}" for shape in ("padded", "dense") for cost in COSTS.values()]
    shown.add_column("times the documents\none by one")
    for heading in ("alone\nGFLOP", "alone\ns", *headings):
        shown.add_column(heading, justify="right")
    for batch, lengths in record["batches"].items():
        shown.add_row(f"{_named(lengths)}:", end_section=False)
        for row in (row for row in record["rows"] if row["batch"] == batch):
            for name in PASSES:
                found = row[name]
                ratios = [found[shape]["over_alone"][cost] for shape in ("padded", "dense") for cost in COSTS]
                shown.add_row(
                    f"{row['form']}, {name.replace('_', ' ')}",
                    f"{found['flops_alone'] / 1e9:,.0f}",
                    f"{median(found['padded']['seconds_alone']):.2f}",
                    *(f"{ratio:.3f}" for ratio in ratios),
                )
        shown.add_section()
    worst = ", ".join(f"{record['worst'][cost]:.3f} in {name}" for cost, name in COSTS.items())
    shown.caption = f"padded / alone at worst: {worst}; goal: at most {record['goal']}"
    return shown


def _named(lengths: Sequence[int]) -> str:
    return f"{len(lengths)} documents of {min(lengths):,} to {max(lengths):,} tokens"


def plot(record: dict[str, Any]) -> Figure:
    """Draw what a padded batch, and a dense one, cost beside their documents one by one."""
    measured = {row["batch"] for row in record["rows"]}  # a run may have been stopped
    batches = [batch for batch in record["batches"] if batch in measured]
    figure = Figure(figsize=(12, 4.2 * len(batches)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(batches), len(COSTS), squeeze=False)
    for batch, line in zip(batches, panels, strict=True):
        rows = [row for row in record["rows"] if row["batch"] == batch]
        for cost, axes in zip(COSTS, line, strict=True):
            _bars(axes, rows, cost, record["goal"])
            axes.set_title(_named(record["batches"][batch]), fontsize=10)
    panels[0][0].legend(frameon=False, loc="upper left", ncols=3, fontsize=9)
    machine, worst = record["machine"], record["worst"]
    kept = ", freed memory kept" if record["keep_memory"] else ""
    figure.suptitle(
        f"A padded batch costs at most {worst['flops']:.2f} times the FLOPs and {worst['seconds']:.2f} times the time "
        "of its documents one by one\n"
        f"default size, float32{kept}; {machine['processor']}, {machine['threads']} thread(s), "
        f"torch {machine['torch']}, {record['date']}",
        fontsize=11,
    )
    return figure


def _bars(axes: Axes, rows: Sequence[dict[str, Any]], cost: str, goal: float) -> None:
    """Draw two bars, padded and dense, for every form and pass."""
    labels = [f"{row['form']}\n{name.replace('_', ' ')}" for row in rows for name in PASSES]
    places, bars = range(len(labels)), {}
    for shift, shape, colour in ((-0.2, "padded", "#0b6e99"), (0.2, "dense", "#c9c9c9")):
        values = [row[name][shape]["over_alone"][cost] for row in rows for name in PASSES]
        label = {"padded": "padded, with its mask", "dense": "all as long as the longest"}[shape]
        bars[shape] = axes.bar([place + shift for place in places], values, 0.38, color=colour, label=label)
    axes.bar_label(bars["padded"], fmt="%.2f", label_type="center", color="white", fontsize=8)
    axes.bar_label(bars["dense"], fmt="%.2f", fontsize=8)
    axes.axhline(1, color="#444444", linewidth=0.8)
    axes.axhline(goal, color="#b00020", linestyle="--", linewidth=1, label=f"goal: {goal}")
    axes.set_xticks(places, labels, fontsize=8)
    axes.set_ylabel(f"{COSTS[cost]} / that of the documents alone")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.2)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.padding", description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS), help="tokens of the documents")
    parser.add_argument(
        "--draw", type=int, default=16, help="documents of the second batch, of random lengths between; 0: none"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed pairs")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--keep-memory", action="store_true", help="keep freed memory in the process (glibc only)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    for name, least in (("draw", 0), ("repeats", 1), ("threads", 1)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name}: expected {least} or more, got {getattr(arguments, name)}")
    if min(arguments.lengths) < 1:
        parser.error(f"--lengths: expected 1 or more, got {min(arguments.lengths)}")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, write its results and print them."""
    arguments = _arguments(argv)
    torch.set_num_threads(arguments.threads)
    if arguments.keep_memory:
        keep_freed_memory()
    lengths, console = arguments.lengths, Console()
    batches = {"given": lengths}
    if arguments.draw:
        batches["drawn"] = drawn_lengths(arguments.draw, min(lengths), max(lengths))
    command = f"python -m benchmarks.padding --lengths {' '.join(str(length) for length in lengths)}"
    command += f" --draw {arguments.draw} --repeats {arguments.repeats} --threads {arguments.threads}"
    command += " --keep-memory" * arguments.keep_memory
    record = run_facts("padding", command)
    record |= {"keep_memory": arguments.keep_memory, "goal": GOAL, "batches": batches, "rows": []}
    stem = arguments.out / f"{record['date']}-padding{'-keep-memory' * arguments.keep_memory}"
    for batch, tokens in batches.items():
        for form in SHOWN:
            with console.status(f"{batch}, {FORMS[form][0]}"):
                row = {"batch": batch, "form": form, **compare(form, tokens, arguments.repeats)}
            record["rows"].append(row)
            record["worst"] = worst_ratios(record["rows"])
            written = save(record, stem, plot)
            ratios = worst_ratios([row])
            console.print(f"{batch}, {form}: {ratios['flops']:.3f} of FLOPs, {ratios['seconds']:.3f} of time at most")
    console.print(table(record))
    console.print(f"written: {written[0]} and {written[1].name}", soft_wrap=True)


if __name__ == "__main__":
    main()
