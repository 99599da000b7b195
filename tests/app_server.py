"""Runs the app with a tiny random model, in this process or behind a real port."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI

from reading_folders import make_reader, make_tokenizer, tiny_llama
from serving import Answer, ask, running
from simmim.cli.document_worker import DocumentReader
from simmim.reading.reader import Reader
from simmim.serve.app.access import TokenGuard
from simmim.serve.app.application import App, create
from simmim.serve.app.attached import Attached
from simmim.serve.app.board import Board
from simmim.serve.app.desk import Desk
from simmim.serve.app.documents import Documents
from simmim.serve.app.pages import Pages
from simmim.serve.app.shelf import Shelf
from simmim.serve.app.translations import Translations
from simmim.serve.endpoints import Service
from simmim.serve.engine import Engine
from simmim.serve.security import Access, Guard
from simmim.serve.writer import Limits, Writer
from simmim.tasks.summarization.extracts.extract import Extractor

TOKEN = "t0ken-of-the-tests"
KEY = {"authorization": f"Bearer {TOKEN}"}
BINARY = {**KEY, "content-type": "application/octet-stream"}


@dataclass
class Made:
    """An app and its parts."""

    app: App
    web: FastAPI
    documents: Documents
    guarded: Any

    def close(self) -> None:
        self.app.board.engine.stop()
        self.app.board.engine.join(60)
        self.app.desk.parser.close()


def make_app(
    library: Path,
    opened: Sequence[Path] = (),
    reader: Reader | None = None,
    translation_model: Path | None = None,
    **settings: Any,
) -> Made:
    """Make an app with a tiny model, whose reader has these settings, or with a reader."""
    if reader is None:
        model = tiny_llama(len(make_tokenizer()), window=2048)
        model.set_attn_implementation("simmim")
        reader = make_reader(model, **{"keep": "text", "segment": 16, "chunk": 64, **settings})
    engine = Engine(max_queue=8, time_limit=600)
    board = Board(engine)
    board.watch(reader.model)
    desk = Desk(reader, Shelf(library, opened), DocumentReader(), Extractor(), Pages())
    service = Service(
        Writer(reader.model, reader.tokenizer, Limits(2048, 64)),
        engine,
        ["tiny"],
        "tiny@0",
        encoder=reader.encoder,
        attachments=Attached(desk),
    )
    translations = None if translation_model is None else Translations(str(translation_model), board, "cpu")
    app = App(service, desk, board, translations)
    web, documents = create(app)
    return Made(app, web, documents, Guard(TokenGuard(web, TOKEN), Access()))


@contextmanager
def live_app(library: Path, opened: Sequence[Path] = (), **settings: Any) -> Iterator[tuple[str, Made]]:
    """Serve an app on a free port; yields its address and the app."""
    made = make_app(library, opened, **settings)
    try:
        with running(made.guarded, made.app.board.engine) as (address, server):
            made.app.stopping = lambda: server.should_exit
            yield address, made
    finally:
        made.close()


def upload(made: Made, name: str, content: bytes) -> Answer:
    """Upload a file."""
    return ask(made.guarded, "/api/documents", content, headers=BINARY, method="POST", query=f"name={quote(name)}")


def wait(made: Made) -> None:
    """Wait until no job is left."""
    for _ in range(30_000):
        if not made.app.board.tasks():
            return
        time.sleep(0.02)
    raise AssertionError("a job did not end")
