"""The endpoints: OpenAI's chat completions, completions, embeddings and models, and a health check."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from simmim.reading.embedding import Encoder
from simmim.serve.bodies import read_body
from simmim.serve.engine import Engine, Job
from simmim.serve.errors import RequestError, error_body
from simmim.serve.feed import Event, Feed, Started
from simmim.serve.formats import ChatFormat, Format, TextFormat, dump
from simmim.serve.sampling import Sampling
from simmim.serve.schemas import ChatRequest, CompletionRequest, EmbeddingRequest, GenerationRequest, parse
from simmim.serve.writer import Order, Writer

__all__ = ["Attachments", "EventStream", "Service", "Tell", "Work", "create_app", "json_response"]

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
        if name == self.encoder_name and self.encoder is not None:
            return self._card(name)
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
        return json_response(service.card(name))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = parse(await read_body(request, service.max_body), ChatRequest)
        if service.attachments is not None:
            work = await run_in_threadpool(service.attachments.work, asked)
            if work is not None:
                return await _reply(service, request, asked, work, ChatFormat(asked.model, service.fingerprint))
        _check_writes(service, asked)
        encode = [lambda check: service.writer.prompts.conversation(asked.messages, check)]
        work, form = _writing(service, asked, encode), ChatFormat(service.names[0], service.fingerprint)
        return await _reply(service, request, asked, work, form, _order(asked).choices)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        asked = parse(await read_body(request, service.max_body), CompletionRequest)
        _check_writes(service, asked)
        encode = [_encoder(service, prompt) for prompt in asked.prompt]
        work, form = _writing(service, asked, encode), TextFormat(service.names[0], service.fingerprint)
        return await _reply(service, request, asked, work, form, len(encode) * _order(asked).choices)

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        asked = parse(await read_body(request, service.max_body), EmbeddingRequest)
        if service.encoder is None:
            message = f"model: expected an encoder; get {service.encoder_name} with simmim app, which loads it"
            raise RequestError(message, status=404, param="model", code="model_not_found")
        if asked.model != service.encoder_name:
            message = (
                f"model: expected {service.encoder_name!r}, which makes vectors here, got {ascii(asked.model)[:80]}"
            )
            raise RequestError(message, status=404, param="model", code="model_not_found")
        return json_response(await _while_connected(request, _embedded(service, asked)))

    _handle_errors(app)
    return app


async def _embedded(service: Service, asked: EmbeddingRequest) -> dict[str, Any]:
    """Have the engine compute the vectors of some texts."""
    feed: Feed[tuple[np.ndarray, int]] = Feed()
    assert service.encoder is not None
    encode = service.encoder.encode_whole
    job = service.engine.submit(lambda job: feed.tell(encode(asked.input, lambda _: job.check())), feed.tell)
    try:
        [(vectors, tokens)] = [found async for found in feed.events()]
    finally:
        service.engine.cancel(job)
    rows = [
        {"object": "embedding", "index": index, "embedding": _vector(vector, asked.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": asked.model, "data": rows, "usage": usage}


def _vector(vector: np.ndarray, form: str) -> str | list[float]:
    if form == "float":
        return [round(float(value), 7) for value in vector]
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _check_writes(service: Service, asked: GenerationRequest) -> None:
    """Raise RequestError if the model of a request is not the one that writes."""
    if asked.model == service.encoder_name:
        message = f"model: expected {service.names[0]!r}, which writes; {asked.model!r} makes vectors"
        raise RequestError(message, status=404, param="model", code="model_not_found")
    service.card(asked.model)


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
            return Response(await _while_connected(request, form.whole(events)), media_type="application/json")
        started = await _while_connected(request, anext(events))  # until then an error still sets the status
        assert isinstance(started, Started)
        with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        chunks = form.stream(started, events, choices, with_usage)
        response = EventStream(chunks, lambda: service.engine.cancel(job))
        streams = True
        return response
    finally:
        if not streams:
            service.engine.cancel(job)


class EventStream(StreamingResponse):
    """A stream that calls a function when it ends, even by an error."""

    def __init__(self, chunks: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; it ends early if the client disconnects."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def _while_connected(request: Request, result: Any) -> Any:
    """Await a result while the client stays connected.

    Raises:
        ClientDisconnect: the client has closed the connection.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving, working = asyncio.ensure_future(disconnected()), asyncio.ensure_future(_awaited(result))
    try:
        await asyncio.wait({leaving, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


async def _awaited(result: Any) -> Any:
    return await result


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
            f"{request.method} {path}: {error.detail}; served are /v1/chat/completions, /v1/completions, "
            "/v1/embeddings, /v1/models"
        )
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        return json_response(error_body(message, error.status_code, code=code), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return json_response(error_body("the server failed; its log says why", 500, code="internal_error"), 500)


def json_response(content: Any, status: int = 200, headers: Any = None) -> Response:
    """Return a response in JSON."""
    return Response(dump(content), status, headers, media_type="application/json")
