"""Measures a long conversation turn by turn: seconds a token, tokens that the model reads, bytes of the cache.

``python -m benchmarks.chat`` runs everything; ``benchmarks/README.md`` says what the figures mean.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.measure import run_facts
from benchmarks.report import save
from benchmarks.scaling import config_of
from simmim import SimMIMForCausalLM
from simmim.data.chat_template import add_chat_template
from simmim.data.tokenizer import train_tokenizer
from simmim.tasks.dialogue.chat import Chat

__all__ = ["FORMS", "main", "plot", "summary", "talk"]

FORMS = {
    "all": ("all states, cache kept", "#0b6e99", "o"),
    "pyramid": ("pyramid of states, cache kept", "#2f8f4e", "D"),
    "anew": ("pyramid of states, history read anew", "#c2571a", "s"),
}
"""Label, colour and marker of every way to talk."""
TEXTS = ["What did the river say to the map, and who folded the boat out of paper?"] * 3
ENDS = 10
"""Turns at either end of a conversation that are compared."""
RESULTS = Path(__file__).parent / "results"


def talk(form: str, turns: int, question: int, reply: int, **changes: Any) -> list[dict[str, Any]]:
    """Talk with a model of random weights.

    Args:
        form: one of ``FORMS``.
        turns: how many.
        question: words of every turn.
        reply: tokens of every reply.
        changes: settings of the model other than the default.

    Returns:
        Of every turn: tokens read, written, passed through the model and of the context; seconds; bytes of the cache;
        seconds a token, the words of the question counted as tokens.
    """
    tokenizer = train_tokenizer(TEXTS, 300)
    add_chat_template(tokenizer)
    torch.manual_seed(0)
    config = config_of("all" if form == "all" else "pyramid", 0, vocab_size=len(tokenizer), **changes)
    model = SimMIMForCausalLM(config).eval()
    passed: list[int] = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: passed.append(inputs[0].shape[1]))
    chat, rows = Chat(model, tokenizer), []
    settings = {"do_sample": True, "min_new_tokens": reply, "max_new_tokens": reply}
    chat.reply("warm up", **settings)  # what is slow once only is not the first turn's
    chat.reset()
    for _ in range(turns):
        passed.clear()
        if form == "anew":
            chat.resume(copy.deepcopy(chat.messages))
        found = chat.reply(" ".join(["river"] * question), **settings)
        rows.append(
            {
                **{"read": found.read_tokens, "written": found.new_tokens, "passed": sum(passed)},
                **{"context": found.context_tokens, "seconds": found.seconds, "cache_bytes": found.cache_bytes},
                "seconds_per_token": found.seconds / (question + reply),
            }
        )
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Compare the last turns of a conversation with the first: medians of seconds a token, and tokens passed."""
    first, last = rows[:ENDS], rows[-ENDS:]
    seconds = [median(row["seconds_per_token"] for row in ends) for ends in (first, last)]
    return {
        "first_seconds_per_token": seconds[0],
        "last_seconds_per_token": seconds[1],
        "last_over_first": seconds[1] / seconds[0],
        "passed_last_over_first": rows[-1]["passed"] / rows[1 % len(rows)]["passed"],
        "cache_bytes": rows[-1]["cache_bytes"],
    }


def table(record: dict[str, Any]) -> Table:
    """Return the figures as a table for the terminal."""
    shown = Table(title=f"{record['turns']} turns; {record['machine']['processor']}", caption=record["command"])
    for heading in (
        "",
        "first, ms a token",
        "last, ms a token",
        "last / first",
        "tokens passed, last / second",
        "cache",
    ):
        shown.add_column(heading, justify="right" if heading else "left")
    for form, found in record["summary"].items():
        shown.add_row(
            FORMS[form][0],
            f"{found['first_seconds_per_token'] * 1e3:.2f}",
            f"{found['last_seconds_per_token'] * 1e3:.2f}",
            f"{found['last_over_first']:.2f}",
            f"{found['passed_last_over_first']:.2f}",
            f"{found['cache_bytes']:,}",
        )
    return shown


def plot(record: dict[str, Any]) -> Figure:
    """Draw seconds a token, tokens passed and bytes of the cache against the turn."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    for axes, what, label in zip(
        panels,
        ("seconds_per_token", "passed", "cache_bytes"),
        ("seconds a token of the turn", "tokens passed through the model", "bytes of the cache"),
        strict=True,
    ):
        _panel(axes, record["rows"], what, label)
    panels[0].legend(frameon=False, loc="upper left")
    machine = record["machine"]
    figure.suptitle(
        f"A conversation of {record['turns']} turns, {record['parameters'] / 1e6:.1f} M parameters, float32\n"
        f"{machine['processor']}, {machine['threads']} thread(s), torch {machine['torch']}, {record['date']}",
        fontsize=11,
    )
    return figure


def _panel(axes: Axes, rows: dict[str, list[dict[str, Any]]], what: str, label: str) -> None:
    for form, turns in rows.items():
        name, colour, marker = FORMS[form]
        axes.plot(
            range(1, len(turns) + 1), [turn[what] for turn in turns], marker, color=colour, label=name, markersize=3
        )
    axes.set_xlabel("turn")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chat", description=__doc__)
    parser.add_argument("--turns", type=int, default=50, help="of the conversation")
    parser.add_argument("--question", type=int, default=40, help="words of every turn")
    parser.add_argument("--reply", type=int, default=40, help="tokens of every reply")
    parser.add_argument("--hidden-size", type=int, default=256, help="channels of the model")
    parser.add_argument("--layers", type=int, default=4, help="of the model")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    for name in ("turns", "question", "reply", "threads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}: expected 1 or more, got {getattr(arguments, name)}")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, write its results and print them."""
    arguments = _arguments(argv)
    torch.set_num_threads(arguments.threads)
    given = {"turns": arguments.turns, "question": arguments.question, "reply": arguments.reply}
    sizes = {"hidden_size": arguments.hidden_size, "num_hidden_layers": arguments.layers}
    options = {**given, "hidden-size": arguments.hidden_size, "layers": arguments.layers, "threads": arguments.threads}
    command = "python -m benchmarks.chat " + " ".join(f"--{name} {value}" for name, value in options.items())
    console = Console()
    config = config_of("pyramid", 0, vocab_size=303, **sizes)
    parameters = SimMIMForCausalLM(config).num_parameters()
    record = run_facts("chat", command) | given | {"parameters": parameters, "rows": {}, "summary": {}}
    for form in FORMS:
        with console.status(FORMS[form][0]):
            record["rows"][form] = talk(form, **given, **sizes)
        record["summary"][form] = summary(record["rows"][form])
        written = save(record, arguments.out / f"{record['date']}-chat", plot)
    console.print(table(record))
    console.print(f"written: {written[0]} and {written[1].name}", soft_wrap=True)


if __name__ == "__main__":
    main()
