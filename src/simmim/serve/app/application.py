"""Puts the app together: the page, the documents, the work, and OpenAI's interface, in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from simmim.serve.app.board import Board
from simmim.serve.app.bodies import AskRequest, SummaryRequest, TranslationRequest
from simmim.serve.app.desk import Desk
from simmim.serve.app.documents import Documents
from simmim.serve.app.pages import Page
from simmim.serve.app.state import about_model, state_of
from simmim.serve.app.streams import changes, event, job_stream
from simmim.serve.app.translations import Translations
from simmim.serve.bodies import read_body
from simmim.serve.endpoints import Service, create_app
from simmim.serve.errors import RequestError, error_body
from simmim.serve.responses import EventStream, json_response
from simmim.serve.schemas import parse

__all__ = ["App", "create"]

STATIC = Path(__file__).parent / "static"
_LARGEST = 100_000


@dataclass
class App:
    """The app.

    Attributes:
        service: what `/v1` serves.
        desk: does the work.
        board: lists the jobs.
        translations: translates; None without a model for it.
        stopping: whether the server ends, for streams that would not end.
    """

    service: Service
    desk: Desk
    board: Board
    translations: Translations | None = None
    stopping: Callable[[], bool] = lambda: False


def create(app: App) -> tuple[FastAPI, Documents]:
    """Return the application, without its guards, and the routes of documents."""
    web = create_app(app.service, openapi_url="/api/openapi.json")
    documents = Documents(app.desk, app.board)
    web.include_router(documents.router)
    _add_work(web, app, documents)
    about = about_model(app.desk, app.translations is not None)

    @web.get("/api/about", tags=["app"])
    async def model() -> dict[str, Any]:
        """Return the model and the limits."""
        return about

    @web.get("/api/state", tags=["app"])
    def state() -> dict[str, Any]:
        """Return documents, jobs and memory."""
        return state_of(app.desk, app.board)

    @web.get("/api/events", tags=["app"])
    async def events() -> Response:
        """Stream the state whenever it changes, as server-sent events."""
        chunks = changes(lambda: state_of(app.desk, app.board), lambda: app.stopping())
        return EventStream(chunks, lambda: None)

    @web.post("/api/jobs/{number}/stop", tags=["app"])
    async def stop(number: int) -> dict[str, Any]:
        """Stop a job."""
        return {"id": number, "stopped": app.board.stop(number)}

    @web.get("/", include_in_schema=False)
    async def index() -> Response:
        return FileResponse(STATIC / "index.html")

    web.mount("/static", StaticFiles(directory=STATIC), name="static")

    @web.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        param = ".".join(map(str, first["loc"][1:]))
        return json_response(error_body(f"{param}: {first['msg']}", 400, param=param, code="invalid_value"), 400)

    return web, documents


def _add_work(web: FastAPI, app: App, documents: Documents) -> None:
    """Add what the model does with a document; each answers with server-sent events."""
    desk, board = app.desk, app.board

    @web.post("/api/documents/{name}/summary", tags=["work"])
    async def summary(name: str, request: Request) -> Response:
        """Summarize a document, or a part of it."""
        asked = parse(await read_body(request, _LARGEST), SummaryRequest)
        page = await _opened(documents, name)
        span = _characters(page, asked.span)
        if span is None and page.digest is not None:  # nothing to wait for
            done = event("done", desk.summary(page, page.digest, asked.length))
            return Response(done, media_type="text/event-stream")
        return job_stream(
            *(board, "summarize", page.entry.id, page.entry.name),
            lambda task, piece: desk.summarize(page, asked.length, span, task),
        )

    @web.post("/api/documents/{name}/ask", tags=["work"])
    async def ask(name: str, request: Request) -> Response:
        """Answer a question, with the passages that were read for it."""
        asked = parse(await read_body(request, _LARGEST), AskRequest)
        page = await _opened(documents, name)
        if not asked.question.strip():
            raise RequestError("question: expected a text, got a blank one", param="question")
        if page.entry.document is None or not page.entry.document.indexed:
            raise RequestError(f"{page.entry.name}: it is not read to its end; wait", status=409, code="not_ready")
        return job_stream(
            *(board, "ask", page.entry.id, asked.question[:200]),
            lambda task, piece: desk.ask(
                *(page, [{"role": "user", "content": asked.question}], task, lambda text: piece({"text": text})),
                passages=asked.passages,
                max_new_tokens=asked.max_new_tokens,
            ),
        )

    @web.post("/api/documents/{name}/translate", tags=["work"])
    async def translate(name: str, request: Request) -> Response:
        """Translate a document, or a part of it, block by block."""
        asked = parse(await read_body(request, _LARGEST), TranslationRequest)
        page, translations = await _opened(documents, name), app.translations
        if translations is None:
            message = "translate: expected a model that translates; start simmim app with --translation-model"
            raise RequestError(message, status=409, code="no_model")
        span = _characters(page, asked.span)
        return job_stream(
            *(board, "translate", page.entry.id, page.entry.name),
            lambda task, piece: translations.translate(page, asked.to, asked.source, span, task, piece),
        )


async def _opened(documents: Documents, name: str) -> Page:
    return await run_in_threadpool(documents.page, name)


def _characters(page: Page, span: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return a part in characters.

    Raises:
        RequestError: it is empty.
    """
    if span is None:
        return None
    begin, end = map(page.offsets.to_character, span)
    if not page.text[begin:end].strip():
        raise RequestError("begin, end: expected a part of the text that is not blank", param="begin")
    return begin, end
