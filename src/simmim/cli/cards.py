"""Shows summaries in a terminal: name, beginning of the text, summary, and what it cost."""

from __future__ import annotations

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from simmim.cli.memory import peak_memory
from simmim.console import SafeConsole
from simmim.terminal import printable

__all__ = ["show_card"]

_BEGINNING = 240  # characters of a text that are shown beside its summary


def show_card(name: str, text: str, summary: str, notes: list[str], *, source_tokens: int, seconds: float) -> None:
    """Print a document's summary."""
    beginning = printable(text[: 8 * _BEGINNING])
    if len(beginning) > _BEGINNING or len(text) > 8 * _BEGINNING:
        beginning = beginning[:_BEGINNING] + "…"
    card = Table.grid(padding=(0, 2))
    card.add_row("text", Text(beginning))
    card.add_row("summary", Text(printable(summary) or "(the model wrote nothing)", style="green"))
    for note in notes:
        card.add_row("note", Text(note))
    memory = peak_memory()
    figures = f"{source_tokens:,} tokens in, {seconds:.2f} s"
    card.add_row("cost", figures if memory is None else f"{figures}, peak memory {memory:,.0f} MiB")
    console = SafeConsole(highlight=False)
    console.print(Text(printable(name), style="bold"))
    console.print(Padding(card, (0, 0, 1, 2)))
