"""The command `python -m lab.scale`: what a training step on many processes takes, simulated and validated.

python -m lab.scale simulate -o FILE      # efficiency to 1,024 ranks, beside ring attention and Ulysses
python -m lab.scale memory -o FILE        # peak memory of a rank at 64k tokens on four, and of one process
python -m lab.scale kill -o FILE          # weights after killing one of four processes again and again
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lab.scale.costs import Link, Model, Step, ring, segment_parallel, ulysses
from lab.scale.kills import train_and_kill
from lab.scale.processes import SIZES, measure
from simmim.atomic import replaced_file
from simmim.cli.group import errors_in_one_line
from simmim.cli.provenance import provenance
from simmim.console import SafeConsole

__all__ = ["app"]

LINKS = (
    Link("gigabit Ethernet", 117e6, 50e-6),
    Link("25 GbE", 2.9e9, 20e-6),
    Link("400 Gb InfiniBand", 48e9, 5e-6),
    Link("NVLink", 450e9, 3e-6),
)
RATE = 400e12
"""Operations a second of an accelerator: what an H100 does of bfloat16 in large matrix products, about."""
RANKS = (1, 4, 16, 64, 256, 1024)

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)
Output = Annotated[Path, typer.Option("--output", "-o", help="Write all figures here, as JSON.")]


@app.command()
def simulate(
    output: Output,
    tokens: Annotated[list[int] | None, typer.Option(help="Tokens of the document.")] = None,
    validate: Annotated[bool, typer.Option(help="Also measure 1, 2 and 4 gloo processes here.")] = True,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each measurement, of which the least is taken.")] = 3,
) -> None:
    """Simulate a training step on up to 1,024 ranks."""
    model, rows = Model(), []
    for length in tokens or [1 << 20, 1 << 24]:
        for method in ("pyramid", "all states", "ring attention", "Ulysses"):
            for link in LINKS:
                rows.append(
                    {"tokens": length, "method": method, "link": link.name} | _efficiencies(model, length, method, link)
                )
    found: dict[str, Any] = {"model": vars(model), "rate": RATE, "links": [vars(link) for link in LINKS], "rows": rows}
    if validate:
        found["validation"] = [_validated(count, steps) for count in (1, 2, 4)]
        _add_errors(found["validation"])
    _show(rows, found.get("validation", []))
    _write(output, found)


def _step(model: Model, tokens: int, method: str, ranks: int) -> Step | None:
    if method in ("pyramid", "all states"):
        return segment_parallel(model, tokens, ranks, pyramid=method == "pyramid")
    return ring(model, tokens, ranks) if method == "ring attention" else ulysses(model, tokens, ranks)


def _efficiencies(model: Model, tokens: int, method: str, link: Link) -> dict[str, Any]:
    """Return seconds of a step for each number of ranks, and which share of the ranks' time is not lost."""
    one = _step(model, tokens, method, 1)
    assert one is not None
    alone, seconds, shares = one.seconds(RATE, link), {}, {}
    for ranks in RANKS:
        step = _step(model, tokens, method, ranks)
        if step is not None:
            seconds[str(ranks)] = step.seconds(RATE, link)
            shares[str(ranks)] = alone / (ranks * step.seconds(RATE, link))
    return {"seconds": seconds, "efficiency": shares}


VALIDATED = 16_384
"""Tokens of the document that is trained on here."""


def _validated(ranks: int, steps: int) -> dict[str, Any]:
    small = Model(4, SIZES["hidden_size"], SIZES["intermediate_size"], 64, SIZES["vocab_size"], bytes_of_number=4)
    found = measure(
        VALIDATED, ranks, steps, segment_length=64, state_reach="pyramid", num_hidden_layers=4, copy_head=False
    )
    step = segment_parallel(small, VALIDATED, ranks, pyramid=True)
    return {"ranks": ranks, "flops": step.flops, "measured": found}


def _add_errors(rows: list[dict[str, Any]]) -> None:
    """Predict the processor time of each rank from that of one process, and say by how much the mean differs."""
    rate = rows[0]["flops"] / rows[0]["measured"][0]["seconds"]
    for row in rows:
        row["predicted_seconds"] = row["flops"] / rate
        row["measured_seconds"] = sum(one["seconds"] for one in row["measured"]) / row["ranks"]
        row["error"] = row["predicted_seconds"] / row["measured_seconds"] - 1


def _show(rows: list[dict[str, Any]], validation: list[dict[str, Any]]) -> None:
    table = Table("tokens", "method", "link", *(f"{ranks}" for ranks in RANKS), title="efficiency on so many ranks")
    for row in rows:
        shares = [row["efficiency"].get(str(ranks)) for ranks in RANKS]
        cells = ["-" if share is None else f"{share:.0%}" for share in shares]
        table.add_row(f"{row['tokens']:,}", row["method"], row["link"], *cells)
    console = SafeConsole()
    console.print(table)
    for row in validation:
        console.print(
            f"{row['ranks']} processes: {row['measured_seconds']:.2f} s of processor time each, predicted "
            f"{row['predicted_seconds']:.2f} s ({row['error']:+.0%})"
        )


@app.command()
def memory(
    output: Output,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of the document.")] = 65_536,
    ranks: Annotated[int, typer.Option(min=2, help="Processes that share it.")] = 4,
) -> None:
    """Measure the peak memory of a training step on several processes and on one."""
    settings = {"segment_length": 128, "num_hidden_layers": 4, "state_reach": "pyramid", "copy_head": False}
    one, many = (measure(tokens, count, 1, **settings) for count in (1, ranks))
    share = max(rank["peak_bytes"] for rank in many) / one[0]["peak_bytes"]
    found = {"tokens": tokens, "ranks": ranks, "settings": settings, "one": one, "many": many, "share": share}
    SafeConsole().print(
        f"{tokens:,} tokens: {one[0]['peak_bytes'] / 2**20:,.0f} MiB on one process, at most "
        f"{max(rank['peak_bytes'] for rank in many) / 2**20:,.0f} MiB on each of {ranks} ({share:.2f})"
    )
    _write(output, found)


@app.command()
def kill(
    output: Output,
    kills: Annotated[int, typer.Option(min=1, help="How often one of the processes is killed.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    steps: Annotated[int, typer.Option(min=4, help="Steps of each run.")] = 40,
) -> None:
    """Kill one of four training processes at random moments, and compare the final weights with a quiet run's."""
    found = train_and_kill(kills, seed, steps)
    SafeConsole().print(f"{found['kills']} kills; weights {'equal' if found['equal'] else 'DIFFERENT'}")
    _write(output, found)
    raise typer.Exit(0 if found["equal"] else 1)


def _write(output: Path, found: dict[str, Any]) -> None:
    with replaced_file(output) as stream:
        stream.write(json.dumps({**provenance(program=("python", "-m", "lab.scale")), **found}, indent=1) + "\n")


if __name__ == "__main__":
    with errors_in_one_line():
        app(prog_name="python -m lab.scale")
