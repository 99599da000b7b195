"""Shows what `simmim data check` finds in translated pages."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import typer
from rich.text import Text

from simmim.cli.tables import plain_table, show
from simmim.terminal import terminal_safe

__all__ = ["check_translations", "translated_files"]

_SUFFIXES = (".tmx", ".xlf", ".xliff", ".po")
_BROKEN = ("blank",)  # what a training cannot use; the others are for people to look at


def translated_files(file: str) -> list[Path]:
    """Return the files of translated pages that an argument names; none where it names other data."""
    path = Path(file)
    if path.suffix in (".yaml", ".yml"):
        from simmim.train.run_config import load_recipe

        recipe = load_recipe(path)
        if recipe.task != "translation":
            return []
        named = (getattr(recipe.data, split) for split in ("train", "validation", "test"))
        return [Path(name) for name in named if name is not None]
    if path.suffix.lower() in _SUFFIXES or re.search(r"\{[\w-]+,[\w-]+\}", file):
        return [path]
    return [path] if path.suffix == ".jsonl" and path.is_file() and _has_pages(path) else []


def _has_pages(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as lines:
        first = next((line for line in lines if line.strip()), "")
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and {"source_language", "target_language", "source", "target"} <= row.keys()


def check_translations(path: Path) -> bool:
    """Show what is in a file of translated pages, and return whether no block is blank."""
    from simmim.tasks.translation.pages import read_pages
    from simmim.tasks.translation.report import check_pages

    whole = True
    for direction, report in check_pages(read_pages(path)).items():
        blocks = len(report.source_lengths)
        typer.echo(terminal_safe(f"{path}: {direction}: {blocks:,} blocks of {report.pages:,} pages"))
        table = plain_table("characters", "least", "median", "mean", "most")
        for side, counts in (("source", report.source_lengths), ("target", report.target_lengths)):
            if counts:
                figures = (min(counts), statistics.median(counts), statistics.fmean(counts), max(counts))
                table.add_row(side, *(f"{figure:,.0f}" for figure in figures))
        show(table)
        if report.faults:
            table = plain_table("faults", "blocks", "share", "the first are at")
            for fault, count in report.faults.most_common():
                positions = Text(", ".join(report.positions[fault]))
                table.add_row(fault, f"{count:,}", f"{100 * count / blocks:.1f} %", positions)
            show(table)
        whole = whole and not any(report.faults[fault] for fault in _BROKEN)
    return whole
