"""What the page always shows: the model, the documents, the jobs and the memory."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from simmim import __version__
from simmim.reading.interface import decoder_of
from simmim.serve.app.board import Board
from simmim.serve.app.bodies import MOST_BYTES
from simmim.serve.app.desk import Desk
from simmim.serve.app.shelf import Entry
from simmim.tasks.process_memory import peak_memory

__all__ = ["about_document", "about_model", "state_of"]


def about_model(desk: Desk, translates: bool) -> dict[str, Any]:
    """Return the model and its limits, which stay the same."""
    model: Any = desk.reader.model
    return {
        "version": __version__,
        "model": _shown(desk.reader.fingerprint),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "window": decoder_of(model).config.max_position_embeddings,
        "segment": desk.reader.settings.segment,
        "library": str(desk.shelf.root),
        "upload_bytes": MOST_BYTES,
        "translates": translates,
    }


def state_of(desk: Desk, board: Board) -> dict[str, Any]:
    """Return what changes: documents, jobs and memory."""
    tasks = board.tasks()
    busy = {task.document: task.stage for task in tasks if task.kind == "read"}
    memory = peak_memory()
    return {
        "documents": [about_document(desk, entry, busy.get(entry.id)) for entry in desk.shelf.entries()],
        "jobs": [task.about() for task in tasks],
        "memory": None if memory is None else round(memory),
    }


def about_document(desk: Desk, entry: Entry, stage: str | None) -> dict[str, Any]:
    """Return what the list of documents shows.

    Args:
        desk: knows the model.
        entry: the document.
        stage: of the job that reads it; None if there is none.
    """
    document = entry.document
    error = entry.problem or str(entry.about.get("error", ""))
    status = "stopped"
    if stage is not None:
        status = "waiting" if stage == "waiting" else "reading"
    elif error:
        status = "failed"
    elif document is not None and document.indexed:
        status = "ready" if desk.readable(entry) else "foreign"
    found: dict[str, Any] = {"id": entry.id, "name": entry.name, "status": status, "owned": entry.owned}
    found |= {"error": error if status == "failed" else "", "note": str(entry.about.get("note", ""))}
    found |= {"seconds": entry.about.get("seconds"), "added": entry.about.get("added"), "text": document is not None}
    if document is not None and entry.manifest is not None:
        found |= {"tokens": document.tokens, "read": document.read, "characters": document.characters}
        found |= {
            "index_bytes": _index_bytes(entry.folder, entry.number, document.read, document.indexed),
            "model": _shown(entry.manifest.model),
        }
    return found


def _shown(fingerprint: str) -> str:
    """Return the name of a model without the digests of its file and its weights."""
    return re.sub(r"-[0-9a-f]{12}$", "", fingerprint.partition("@")[0])


@lru_cache(maxsize=4096)  # every open page asks for the state four times a second
def _index_bytes(folder: Path, number: int, read: int, indexed: bool) -> int:
    """Return the bytes of what was read of a document, without its text.

    Args:
        folder: of the document.
        number: of the document in it.
        read: tokens that were read, and
        indexed: whether that is all: they change when the files do.
    """
    size = 0
    for path in folder.glob(f"{number:04}.*"):
        if path.suffix not in (".text", ".state"):
            try:
                size += path.stat().st_size
            except OSError:  # it was just replaced
                continue
    return size
