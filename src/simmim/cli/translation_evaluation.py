"""Evaluates a model that translates beside a translation memory and beside no translation at all."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from simmim.cli.evaluation_data import recipe_data
from simmim.cli.notices import say
from simmim.cli.tables import plain_table
from simmim.console import SafeConsole
from simmim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from simmim.tasks.translation.metrics import Measured
    from simmim.tasks.translation.pages import Page

__all__ = ["evaluate_translation"]


@dataclass(frozen=True)
class _Block:
    """A block to translate, with its reference and its document."""

    source: str
    reference: str
    document: str


def evaluate_translation(
    model: Path,
    file: Path | None,
    split: str,
    directions: Sequence[str] | None,
    *,
    limit: int | None,
    num_beams: int,
    batch_size: int,
    group: int,
    stream: TextIO | None,
    as_json: bool,
) -> None:
    """Translate the blocks of pages and measure the translations.

    Args:
        model: the folder of a model, or the name of one on the hub.
        file: translated pages; None takes the split that the model's recipe names.
        split: `validation` or `test`.
        directions: such as `en-fr`; None takes those of the recipe, or else those of the file.
        limit: so many documents of each direction, drawn at random (seed 0).
        num_beams: width of the beam search.
        batch_size: blocks, or groups of them, at a time.
        group: blocks that a model of SimMIM reads together.
        stream: where the record goes, as JSON; None writes none.
        as_json: print the record, and no tables.
    """
    from simmim.cli.provenance import provenance
    from simmim.tasks.translation.loading import load_translation_model

    data = recipe_data(model)
    path = file or _named(data, split)
    known = None if data is None or data.train is None else Path(data.train)
    if known is not None and not known.is_file() and "{" not in str(known):
        say(f"note: {known} is not there: the translation memory of the baseline is empty")
        known = None
    wanted = list(directions or (data.directions if data is not None and data.directions else _directions(path)))
    loaded = load_translation_model(model)
    records = []
    for direction in wanted:
        blocks = list(_blocks(path, direction, limit))
        if not blocks:
            raise DataError(f"{path}: expected pages in the direction {direction}, found none")
        systems = _systems(loaded, direction, blocks, known, num_beams, batch_size, group)
        records.append({"direction": direction, "systems": {name: one.to_dict() for name, one in systems.items()}})
        if not as_json:
            _print(direction, systems)
    settings = {"num_beams": num_beams, "group": group, "limit": limit}
    record: dict[str, Any] = {"model": str(model), "file": str(path), "decoding": settings, "directions": records}
    record["made"] = provenance("sacrebleu")
    if as_json:
        typer.echo(json.dumps(record, indent=2))  # ASCII, so that nothing in a document steers the terminal
    if stream is not None:
        stream.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _named(data: Any, split: str) -> Path:
    found = None if data is None else getattr(data, split)
    if found is None:
        raise ConfigError(f"--file: expected translated pages, as no recipe names a file for {split}; pass --file")
    return Path(found)


def _directions(path: Path) -> list[str]:
    from simmim.tasks.translation.pages import read_pages

    return list(dict.fromkeys(f"{page.source_language}-{page.target_language}" for page in read_pages(path)))


def _blocks(path: Path, direction: str, limit: int | None) -> Iterator[_Block]:
    """Yield the blocks of a direction, page by page."""
    pages = list(_sides(path, direction))
    if limit is not None and limit < len(pages):
        pages = [pages[index] for index in sorted(random.Random(0).sample(range(len(pages)), limit))]
    for number, (source, target) in enumerate(pages):
        for pair in zip(source, target, strict=True):
            yield _Block(*pair, str(number))


def _sides(path: Path, direction: str) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    from simmim.tasks.translation.pages import read_pages

    page: Page
    for page in read_pages(path):
        if direction == f"{page.source_language}-{page.target_language}":
            yield page.source, page.target
        elif direction == f"{page.target_language}-{page.source_language}":
            yield page.target, page.source


def _systems(
    loaded: Any, direction: str, blocks: list[_Block], known: Path | None, beams: int, batch_size: int, group: int
) -> dict[str, Measured]:
    """Measure the model before and after its mistakes are mended, the translation memory and the sources themselves."""
    from simmim.tasks.translation.marks import MARK, Block, Mark
    from simmim.tasks.translation.metrics import measure
    from simmim.tasks.translation.models import translator_for
    from simmim.tasks.translation.nearest import NearestBlock
    from simmim.tasks.translation.translate import translate_blocks

    source, target = direction.split("-")
    model, tokenizer = loaded
    translator = translator_for(model, tokenizer, source, target, num_beams=beams)
    sources, references = [one.source for one in blocks], [one.reference for one in blocks]
    documents = [one.document for one in blocks]
    found = []
    # blocks of two documents are not read together; one by one they may share a batch
    for _, part in groupby(blocks, lambda one: one.document if group > 1 else ""):
        marked = [Block(one.source, tuple(Mark("") for _ in set(MARK.findall(one.source)))) for one in part]
        found += translate_blocks(marked, translator, group_size=group, batch_size=batch_size)
    memory = list(zip(*_flat(known, direction), strict=True)) if known is not None else []
    nearest = NearestBlock([pair[0] for pair in memory], [pair[1] for pair in memory])
    written = {
        "model": [one.text for one in found],
        "model, not mended": [one.text if one.raw is None else one.raw for one in found],
        "nearest block": [nearest(text)[0] for text in sources],
        "source": sources,
    }
    return {name: measure(sources, texts, references, documents, language=target) for name, texts in written.items()}


def _flat(path: Path, direction: str) -> tuple[list[str], list[str]]:
    sides = list(_sides(path, direction))
    return [text for source, _ in sides for text in source], [text for _, target in sides for text in target]


def _print(direction: str, systems: dict[str, Measured]) -> None:
    first = next(iter(systems.values()))
    say(f"{direction}: {first.blocks:,} blocks of {first.documents:,} documents")
    table = plain_table("", "chrF", "BLEU", "marks", "numbers", "terms", "length")
    for name, one in systems.items():
        scores = [f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]" for found in (one.chrf, one.bleu)]
        shares = ["" if share is None else f"{100 * share:.1f} %" for share in (one.marks, one.numbers, one.terms)]
        table.add_row(name, *scores, *shares, f"{one.length:.2f}")
    console = SafeConsole(highlight=False)
    console.print(table)
    signatures = f"chrF {first.signatures['chrf']}; BLEU {first.signatures['bleu']}"
    console.print(signatures, highlight=False, soft_wrap=True)
