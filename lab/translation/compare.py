"""The command `python -m lab.translation.compare`: what the adapter, and what context, is worth.

Systems, all on the same blocks of pages: the pretrained model shown two pairs of blocks; the adapter's model with each
block alone, with the blocks before it and what they became, and, as a control, with such of another page; the nearest
block of the training pages, which is what a translation memory gives; the source as it is.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from simmim.cli.provenance import provenance
from simmim.tasks.translation.causal import PairTranslator
from simmim.tasks.translation.loading import load_translation_model
from simmim.tasks.translation.marks import MARK, Block, Mark
from simmim.tasks.translation.metrics import measure
from simmim.tasks.translation.nearest import NearestBlock
from simmim.tasks.translation.pages import Page, read_pages
from simmim.tasks.translation.translate import Translated, translate_blocks
from simmim.tasks.translation.translator import Written

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)

_SHOWN = {
    "en": ("The file could not be opened.", "Click {1}OK{2} to save your changes."),
    "fr": ("Le fichier n'a pas pu être ouvert.", "Cliquez sur {1}OK{2} pour enregistrer vos modifications."),
    "zh": ("无法打开该文件。", "单击{1}确定{2}保存更改。"),
}
_Row = dict[str, Any]


class _Shown(PairTranslator):
    """Puts the same pairs before every block."""

    def _prompt(self, blocks: Sequence[str], written: Sequence[Written]) -> list[int]:
        pairs = list(zip(_SHOWN[self.source], _SHOWN[self.target], strict=True))
        return self._form.prompt(blocks[-1], pairs)


class _Elsewhere(PairTranslator):
    """Puts pairs of another page before a block: those that it was given last."""

    others: Sequence[tuple[str, str]] = ()

    def _prompt(self, blocks: Sequence[str], written: Sequence[Written]) -> list[int]:
        size = len(blocks) - 1
        return self._form.prompt(blocks[-1], self.others[:size])


@app.command()
def compare(
    model: Annotated[Path, typer.Argument(help="The folder of the model with the adapter.")],
    base: Annotated[Path, typer.Argument(help="That of the model without it.")],
    data: Annotated[Path, typer.Argument(help="The folder with train.jsonl and the split.")],
    direction: Annotated[list[str], typer.Option(help="Again for more.")],
    output: Annotated[Path, typer.Option("--output", "-o")],
    split: Annotated[str, typer.Option()] = "test",
    pages: Annotated[int, typer.Option(help="Of a direction, drawn at random.")] = 40,
    blocks: Annotated[int, typer.Option(help="Of a page at most, those at its beginning.")] = 10,
    systems: Annotated[str, typer.Option()] = "alone,context,elsewhere,shown,nearest,source",
    num_beams: Annotated[int, typer.Option()] = 1,
    threads: Annotated[int, typer.Option()] = 1,
) -> None:
    """Translate and measure."""
    torch.set_num_threads(threads)
    rows: list[_Row] = []
    loaded = {name: load_translation_model(path) for name, path in (("model", model), ("base", base))}
    directions = loaded["model"][0].config.translation_pairs
    loaded["base"][0].config.translation_pairs = directions
    for name in direction:
        source, target = name.split("-")
        chosen = _pages(data / f"{split}.jsonl", source, target, pages, blocks)
        memory = _pages(data / "train.jsonl", source, target, None, None)
        for system in systems.split(","):
            started = time.process_time()
            written = _translated(system, loaded, source, target, chosen, memory, num_beams)
            seconds = time.process_time() - started
            rows.append(_row(name, system, chosen, written, target, seconds))
            typer.echo(json.dumps({key: rows[-1][key] for key in ("direction", "system", "chrf", "bleu", "terms")}))
            record = {"rows": rows, "split": split, "num_beams": num_beams}
            record["made"] = provenance("sacrebleu", program=("python", "-m", "lab.translation.compare"))
            output.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _pages(path: Path, source: str, target: str, count: int | None, most: int | None) -> list[Page]:
    """Return pages of a direction, whichever side is the source; those drawn are of all origins alike."""
    found = []
    for page in read_pages(path):
        sides = page.source_language, page.target_language
        if sides == (target, source):
            page = replace(page, source=page.target, target=page.source, source_language=source, target_language=target)
        elif sides != (source, target):
            continue
        found.append(replace(page, source=page.source[:most], target=page.target[:most]))
    return found if count is None else random.Random(0).sample(found, min(count, len(found)))


def _translated(
    system: str, loaded: Any, source: str, target: str, pages: list[Page], memory: list[Page], beams: int
) -> list[list[str]]:
    """Return what a system writes for the blocks of each page."""
    if system == "source":
        return [list(page.source) for page in pages]
    if system == "nearest":
        nearest = NearestBlock(
            [text for page in memory for text in page.source], [text for page in memory for text in page.target]
        )
        return [[nearest(text)[0] for text in page.source] for page in pages]
    kind = {"shown": _Shown, "elsewhere": _Elsewhere}.get(system, PairTranslator)
    model, tokenizer = loaded["base" if system == "shown" else "model"]
    translator = kind(model, tokenizer, source, target, num_beams=beams)
    if system in ("alone", "shown"):
        flat = [text for page in pages for text in page.source]
        found = iter(translate_blocks([_block(text) for text in flat], translator))
        return [[next(found).text for _ in page.source] for page in pages]
    written = []
    for number, page in enumerate(pages):
        if isinstance(translator, _Elsewhere):
            other = pages[number - 1]
            translator.others = list(zip(other.source, other.target, strict=True))[:3]
        done: list[Translated] = translate_blocks([_block(text) for text in page.source], translator, group_size=4)
        written.append([one.text for one in done])
    return written


def _block(text: str) -> Block:
    return Block(text, tuple(Mark("") for _ in set(MARK.findall(text))))


def _row(direction: str, system: str, pages: list[Page], written: list[list[str]], target: str, seconds: float) -> _Row:
    sources = [text for page in pages for text in page.source]
    references = [text for page in pages for text in page.target]
    documents = [str(number) for number, page in enumerate(pages) for _ in page.source]
    flat = [text for texts in written for text in texts]
    found = measure(sources, flat, references, documents, language=target).to_dict()
    samples = list(zip(sources, references, flat, strict=True))[:40]
    return {
        "direction": direction,
        "system": system,
        **found,
        "processor_seconds": round(seconds, 1),
        "samples": samples,
    }


if __name__ == "__main__":
    app()
