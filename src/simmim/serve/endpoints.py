"""The endpoints: OpenAI's chat completions, completions, embeddings and models, and a health check."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from simmim.reading.embedding import Encoder
from simmim.serve.bodies import read_body
from simmim.serve.embeddings import add_embeddings
from simmim.serve.engine import Engine, Job
from simmim.serve.errors import RequestError, error_body
from simmim.serve.feed import Event, Feed, Started
from simmim.serve.formats import ChatFormat, Format, TextFormat
from simmim.serve.responses import EventStream, json_response, while_connected
from simmim.serve.sampling import Sampling
from simmim.serve.schemas import ChatRequest, CompletionRequest, GenerationRequest, parse
from simmim.serve.writer import Order, Writer

__all__ = ["Attachments", "Service", "Tell", "Work", "create_app"]

_GONE = 499  # the usual log entry for a client that closed its connection; no client receives it

Encode = Callable[[Callable[[], None]], list[int]]
Tell = Callable[[Event], None]
Work = Callable[[Job, Tell], None]
"""Writes a reply in the engine's thread and reports its start, its pieces and its end."""


class Attachments(Protocol):
    """Documents that clients ask as if each were a model."""

    def cards(self) -> list[dict[str, Any]]:
        """Return the model object of each document."""

    def work(self, asked: ChatRequest) -> Work | None:
        """Return what answers a request; None if its model is no document.

        Raises:
            RequestError: the document cannot be asked, or not with these parameters.
        """


@dataclass(frozen=True)
class Service:
    """Holds what the endpoints serve.

    Attributes:
        writer: generates with the model.
        engine: runs the requests.
        names: names of the model; the first is its id, the others are aliases.
        fingerprint: digest of the model's configuration, tokenizer and weights.
        max_body: maximum size of a request in bytes.
        created: when the model was loaded.
        encoder: turns texts into vectors; None if there is none.
        encoder_name: the name of the encoder as a model.
        attachments: documents that can be asked by their names; None if there are none.
    """

    writer: Writer
    engine: Engine
    names: Sequence[str]
    fingerprint: str
    max_body: int = 2_000_000
    created: int = field(default_factory=lambda: int(time.time()))
    encoder: Encoder | None = None
    encoder_name: str = "all-MiniLM-L6-v2"
    attachments: Attachments | None = None

    def card(self, name: str) -> dict[str, Any]:
        """Return the model object of OpenAI's interface.

        Raises:
            RequestError: the model has another name.
        """
        if name not in self.names:
            raise RequestError(
                f"model: expected {self.names[0]!r}, which is served here, got {ascii(name)[:80]}",
                status=404,
                param="model",
                code="model_not_found",
            )
        return self._card(self.names[0])

    def cards(self) -> list[dict[str, Any]]:
        """Return the model objects of all models, and of all documents that can be asked."""
        encoders = [] if self.encoder is None else [self._card(self.encoder_name)]
        return [self._card(self.names[0]), *encoders, *(self.attachments.cards() if self.attachments else [])]

    def _card(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self.created, "owned_by": "simmim"}


def create_app(service: Service, openapi_url: str | None = None) -> FastAPI:
    """Return the application, without the guard of ``simmim.serve.security``.

    Args:
        service: what the endpoints serve.
        openapi_url: where the description of further endpoints is; None for none.
    """
    app = FastAPI(title="SimMIM", openapi_url=openapi_url, docs_url=None, redoc_url=None, redirect_slashes=False)

    @app.get("/health")
    async def health() -> Response:
        running, waiting = service.engine.load
        return json_response({"status": "ok", "running": running, "waiting": waiting})

    @app.get("/v1/models")
    async def models() -> Response:
        return json_response({"object": "list", "data": await run_in_threadpool(service.cards)})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        cards = {card["id"]: card for card in await run_in_threadpool(service.cards)}
        return json_response(cards.get(name) or service.card(name))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = parse(await read_body(request, service.max_body), ChatRequest)
        if service.attachments is not None:
            work = await run_in_threadpool(service.attachments.work, asked)
            if work is not None:
                return await _reply(service, request, asked, work, ChatFormat(asked.model, service.fingerprint))
        service.card(asked.model)
        encode = [lambda check: service.writer.prompts.conversation(asked.messages, check)]
        work, form = _writing(service, asked, encode), ChatFormat(service.names[0], service.fingerprint)
        return await _reply(service, request, asked, work, form, _order(asked).choices)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        asked = parse(await read_body(request, service.max_body), CompletionRequest)
        service.card(asked.model)
        encode = [_encoder(service, prompt) for prompt in asked.prompt]
        work, form = _writing(service, asked, encode), TextFormat(service.names[0], service.fingerprint)
        return await _reply(service, request, asked, work, form, len(encode) * _order(asked).choices)

    if service.encoder is not None:
        add_embeddings(app, service.encoder, service.encoder_name, service.engine, service.max_body)
    _handle_errors(app)
    return app


def _writing(service: Service, asked: GenerationRequest, encode: Sequence[Encode]) -> Work:
    """Return the work that writes a reply to each prompt.

    Raises:
        RequestError: the request asks for more than the limits of the server.
    """
    order = _order(asked)
    service.writer.check(order)

    def work(job: Job, tell: Tell) -> None:
        prompts = [encoder(job.check) for encoder in encode]
        tell(Started(sum(map(len, prompts))))
        for number, ids in enumerate(prompts):
            service.writer.write(ids, order, number * order.choices, job, tell)

    return work


def _encoder(service: Service, prompt: str | list[int]) -> Encode:
    return lambda check: service.writer.prompts.prompt(prompt, check)


def _order(asked: GenerationRequest) -> Order:
    """Return what a request asks for, with the defaults of the API reference for missing parameters."""
    sampling = Sampling(
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        seed=asked.seed,
        presence_penalty=asked.presence_penalty or 0.0,
        frequency_penalty=asked.frequency_penalty or 0.0,
        logit_bias=asked.logit_bias,
    )
    limit = next((name for name in asked.limits if getattr(asked, name) is not None), None)
    max_tokens = asked.default_tokens if limit is None else getattr(asked, limit)
    return Order(sampling, asked.n or 1, max_tokens, asked.stop, limit or asked.limits[0])


async def _reply(
    service: Service,
    request: Request,
    asked: GenerationRequest,
    work: Work,
    form: Format,
    choices: int = 1,
) -> Response:
    """Have the engine generate and pass its output on while the client stays connected."""
    feed: Feed[Event] = Feed()
    job = service.engine.submit(lambda job: work(job, feed.tell), feed.tell)
    streams = False
    try:
        events = feed.events()
        if not asked.stream:
            return Response(await while_connected(request, form.whole(events)), media_type="application/json")
        started = await while_connected(request, anext(events))  # until then an error still sets the status
        assert isinstance(started, Started)
        with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        chunks = form.stream(started, events, choices, with_usage)
        response = EventStream(chunks, lambda: service.engine.cancel(job))
        streams = True
        return response
    finally:
        if not streams:
            service.engine.cancel(job)


def _handle_errors(app: FastAPI) -> None:
    """Answer every error in OpenAI's form."""

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        return json_response(error.body, error.status, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_GONE)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        path = ascii(request.url.path)[1:-1][:80]
        message = (
            f"{request.method} {path}: {error.detail}; served are /v1/chat/completions, /v1/completions, /v1/models"
        )
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        return json_response(error_body(message, error.status_code, code=code), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return json_response(error_body("the server failed; its log says why", 500, code="internal_error"), 500)
