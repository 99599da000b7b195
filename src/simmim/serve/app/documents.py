"""The routes of documents: upload, list, text, map, headings, the line of a cell, history, download, delete."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from simmim.errors import ConfigError, SimMIMError
from simmim.serve.app.board import Board
from simmim.serve.app.bodies import Language, read_upload
from simmim.serve.app.desk import Desk
from simmim.serve.app.digests import line_of
from simmim.serve.app.exports import as_docx, as_json, as_markdown, as_tmx, translation_as_docx
from simmim.serve.app.pages import Page
from simmim.serve.app.shelf import Entry
from simmim.serve.app.state import about_document
from simmim.serve.app.translations import kept_languages, kept_translation
from simmim.serve.errors import RequestError

__all__ = ["Documents"]

_TYPES = {
    "md": "text/markdown; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "tmx": "application/x-tmx+xml; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}
_PATIENCE = 20.0  # seconds
Position = Annotated[int, Query(ge=0, le=1 << 40)]


class Documents:
    """Routes under `/api/documents`.

    Args:
        desk: does the work.
        board: lists the jobs.
    """

    def __init__(self, desk: Desk, board: Board) -> None:
        self._desk, self._board = desk, board
        self.router = APIRouter(prefix="/api/documents", tags=["documents"])
        add = self.router.add_api_route
        add("", self.documents, methods=["GET"], summary="List the documents")
        add("", self.upload, methods=["POST"], status_code=202, summary="Upload a file, and read it")
        add("/{name}/read", self.read, methods=["POST"], status_code=202, summary="Go on reading a document")
        add("/{name}", self.document, methods=["GET"], summary="Headings, pages and figures of a document")
        add("/{name}", self.delete, methods=["DELETE"], summary="Remove a document and all that was read of it")
        add("/{name}/text", self.text, methods=["GET"], summary="The text", response_class=PlainTextResponse)
        add("/{name}/map", self.map, methods=["GET"], summary="The cells of the map, at most 2,000")
        add("/{name}/segments", self.segments, methods=["GET"], summary="Where each segment begins")
        add("/{name}/line", self.line, methods=["GET"], summary="What a part is about, in a line")
        add("/{name}/history", self.history, methods=["GET"], summary="What was asked")
        add("/{name}/translation", self.translation, methods=["GET"], summary="A translation that was kept")
        add("/{name}/download", self.download, methods=["GET"], summary="Summaries, answers, translation as a file")

    def entry(self, name: str) -> Entry:
        """Return a document.

        Raises:
            RequestError: there is none of this id (404).
        """
        found = self._desk.shelf.entry(name)
        if found is None:
            message = f"document: expected the id of one in the library, got {ascii(name)[:80]}"
            raise RequestError(message, status=404, param="document", code="not_found")
        return found

    def page(self, name: str) -> Page:
        """Return an open document.

        Raises:
            RequestError: there is none of this id (404), it has no text yet (409), or is damaged (409).
        """
        try:
            return self._desk.pages.open(self.entry(name))
        except SimMIMError as error:
            raise RequestError(str(error), status=409, code="damaged") from error

    def documents(self) -> dict[str, Any]:
        """Return all documents."""
        return {"documents": [about_document(self._desk, entry, None) for entry in self._desk.shelf.entries()]}

    async def upload(self, request: Request) -> dict[str, Any]:
        """Keep a file and read it: the body is the file, `name` its name."""
        name, content = await read_upload(request)
        entry = await run_in_threadpool(self._desk.shelf.add, name, content)
        return {"id": entry.id, "job": self.start_reading(entry)}

    def read(self, name: str) -> dict[str, Any]:
        """Go on reading a document that was stopped."""
        entry = self.entry(name)
        if not entry.owned:
            message = f"{entry.name}: simmim read has made its folder; run it again to go on"
            raise RequestError(message, status=409, code="not_owned")
        return {"id": entry.id, "job": self.start_reading(entry)}

    def start_reading(self, entry: Entry) -> int | None:
        """Queue the reading of a document; return its job, None for one that is read."""
        running = [task for task in self._board.tasks() if task.document == entry.id and task.kind == "read"]
        if running:
            return running[0].number
        if entry.document is not None and entry.document.indexed and not entry.about.get("error"):
            return None
        return self._board.start("read", entry.id, entry.name, lambda task: self._desk.read(entry, task)).number

    def document(self, name: str) -> dict[str, Any]:
        """Return figures, headings and pages."""
        page = self.page(name)
        found = about_document(self._desk, page.entry, None)
        headings = [{"begin": b, "end": e, "level": level, "text": text} for b, e, level, text in page.headings]
        found |= {"headings": headings, "pages": page.pages, "units": page.offsets.units}
        return found | {"digest": page.digest is not None, "translations": kept_languages(page.entry)}

    def delete(self, name: str) -> dict[str, Any]:
        """Remove a document; a job about it is stopped first, for it would write into the folder."""
        entry, end = self.entry(name), time.monotonic() + _PATIENCE
        while about := [task for task in self._board.tasks() if task.document == entry.id]:
            for task in about:
                self._board.stop(task.number)
            if time.monotonic() > end:
                raise RequestError(f"{entry.name}: it is still in use; try again", status=409, code="in_use")
            time.sleep(0.05)
        self._desk.pages.forget(entry)
        try:
            self._desk.shelf.remove(entry)
        except SimMIMError as error:
            raise RequestError(str(error), status=409, code="not_owned") from error
        return {"id": entry.id, "deleted": True}

    def text(self, name: str) -> Response:
        """Return the whole text."""
        return PlainTextResponse(self.page(name).text)

    def map(self, name: str) -> dict[str, Any]:
        """Return the levels of the pyramid, the root first."""
        return self.page(name).map

    def segments(self, name: str) -> dict[str, Any]:
        """Return where each segment begins."""
        return {"begins": self.page(name).segment_units}

    def line(self, name: str, begin: Position, end: Position) -> dict[str, Any]:
        """Return the sentences that a part is about; empty while there is no digest."""
        page = self.page(name)
        span = page.offsets.to_character(begin), page.offsets.to_character(end)
        found = [] if page.digest is None else line_of(page.digest, *span)
        return {"sentences": [page.sentence(one) for one in found]}

    def history(self, name: str) -> dict[str, Any]:
        """Return what was asked, the newest last."""
        return {"history": self.entry(name).history()}

    def translation(self, name: str, to: Language) -> dict[str, Any]:
        """Return a translation that was kept."""
        found = kept_translation(self.page(name), to)
        if found is None:
            raise RequestError(f"to: there is no translation into {to}; make one", status=404, param="to")
        return found

    def download(self, name: str, form: Literal["md", "json", "tmx", "docx"], to: Language | None = None) -> Response:
        """Return a file to save: a translation into `to` as TMX or DOCX, otherwise summaries and answers."""
        page = self.page(name)
        if form == "tmx":
            content = as_tmx(self.translation(name, to or "en")).encode("utf-8")
        elif form == "docx":
            try:
                content = as_docx(page) if to is None else translation_as_docx(self.translation(name, to))
            except ConfigError as error:
                raise RequestError(str(error), status=501, code="not_installed") from error
        else:
            content = (as_markdown(page) if form == "md" else as_json(page)).encode("utf-8")
        headers = {"Content-Disposition": f'attachment; filename="{page.entry.id}.{form}"'}
        return Response(content, media_type=_TYPES[form], headers=headers)
