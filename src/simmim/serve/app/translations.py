"""Translates documents of the app block by block, and keeps each translation beside its document."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from simmim.atomic import replaced_file
from simmim.files import read_regular_text
from simmim.serve.app.board import Board, Task
from simmim.serve.app.pages import Page
from simmim.serve.app.shelf import Entry
from simmim.tasks.language_detection import detect_language
from simmim.tasks.translation.formats import open_document
from simmim.tasks.translation.loading import load_translation_model
from simmim.tasks.translation.marks import MARK, Mark
from simmim.tasks.translation.models import translator_for
from simmim.tasks.translation.translate import translate_blocks

__all__ = ["Translations", "kept_languages", "kept_translation"]

_AT_ONCE = 8  # blocks after which the page gets news


class Translations:
    """Holds the model that translates; it is loaded with the first text.

    Args:
        name: folder or hub name of the model.
        board: stops it between its layers.
        device: where it computes; None takes the accelerator where there is one.
        dtype: of its weights; None as saved.
    """

    def __init__(self, name: str, board: Board, device: str | None = None, dtype: torch.dtype | None = None) -> None:
        self.name, self._board, self._options = name, board, (device, dtype)
        self._loaded: Any = None

    def translate(
        self,
        page: Page,
        target: str,
        source: str | None,
        span: tuple[int, int] | None,
        task: Task,
        write: Callable[[dict[str, Any]], None],
    ) -> dict[str, Any]:
        """Translate a document, or its characters `span`; that of a whole document is kept.

        Args:
            page: the document.
            target: the language to write.
            source: that of the text; None detects it.
            span: the part; None for all.
            task: the job.
            write: gets each few blocks.

        Raises:
            Cancelled: it was stopped.
            CheckpointError, ConfigError: the model cannot be loaded, or does not know a language.
        """
        began = time.monotonic()
        task.advance("loading")
        begin, end = span or (0, len(page.text))
        found = open_document("text.txt", page.text[begin:end].encode("utf-8"))
        blocks = found.blocks
        source = source or detect_language(page.entry.name, [block.text for block in blocks])
        if self._loaded is None:
            self._loaded = load_translation_model(self.name, *self._options)
            self._board.watch(self._loaded[0])
        translator = translator_for(self._loaded[0], self._loaded[1], source, target, num_beams=1)
        done: list[dict[str, Any]] = []
        for first in range(0, len(blocks), _AT_ONCE):
            task.advance("translating", first, len(blocks))
            part = blocks[first : first + _AT_ONCE]
            new = []
            for block, one in zip(part, translate_blocks(part, translator), strict=True):
                where = page.where(begin + block.start, begin + block.end)
                texts = {"source": _plain(one.source, block.marks), "text": _plain(one.text, block.marks)}
                new.append({**where, **texts, "faults": list(one.faults)})
            done += new
            write({"blocks": new, "of": len(blocks)})
        result: dict[str, Any] = {"from": source, "to": target, "model": Path(self.name).name, "blocks": done}
        result["seconds"] = round(time.monotonic() - began, 1)
        if span is None:
            with replaced_file(page.entry.work / "translations" / f"{target}.json") as stream:
                json.dump({"sha256": page.sha256, **result}, stream, ensure_ascii=False)
        return {name: value for name, value in result.items() if name != "blocks"}


def kept_languages(entry: Entry) -> list[str]:
    """Return the languages that a document was translated into."""
    return sorted(path.stem for path in (entry.work / "translations").glob("*.json"))


def kept_translation(page: Page, target: str) -> dict[str, Any] | None:
    """Return a translation that was kept; None if there is none of this text."""
    if target not in kept_languages(page.entry):
        return None
    try:
        found = json.loads(read_regular_text(page.entry.work / "translations" / f"{target}.json"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.pop("sha256", None) != page.sha256 or "blocks" not in found:
        return None
    return found


def _plain(text: str, marks: tuple[Mark, ...]) -> str:
    """Return a block's text with what its marks stand for."""

    def put(found: re.Match[str]) -> str:
        number = int(found[1]) - 1
        return marks[number].source if number < len(marks) else found[0]

    return MARK.sub(put, text)
