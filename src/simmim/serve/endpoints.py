"""The endpoints: OpenAI's chat completions, completions and models, and a health check."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from simmim.serve.bodies import read_body
from simmim.serve.engine import Engine, Job
from simmim.serve.errors import RequestError, error_body
from simmim.serve.feed import Event, Feed, Started
from simmim.serve.formats import ChatFormat, Format, TextFormat, dump
from simmim.serve.sampling import Sampling
from simmim.serve.schemas import ChatRequest, CompletionRequest, GenerationRequest, parse
from simmim.serve.writer import Order, Writer

__all__ = ["EventStream", "Service", "create_app", "json_response"]

_GONE = 499  # the usual log entry for a client that closed its connection; no client receives it

Encode = Callable[[Callable[[], None]], list[int]]


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
    """

    writer: Writer
    engine: Engine
    names: Sequence[str]
    fingerprint: str
    max_body: int = 2_000_000
    created: int = field(default_factory=lambda: int(time.time()))

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
        return {"id": self.names[0], "object": "model", "created": self.created, "owned_by": "simmim"}


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
        return json_response({"object": "list", "data": [service.card(service.names[0])]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        return json_response(service.card(name))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = parse(await read_body(request, service.max_body), ChatRequest)
        service.card(asked.model)
        encode = [lambda check: service.writer.prompts.conversation(asked.messages, check)]
        return await _reply(service, request, asked, _order(asked), encode, ChatFormat)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        asked = parse(await read_body(request, service.max_body), CompletionRequest)
        service.card(asked.model)
        encode = [_encoder(service, prompt) for prompt in asked.prompt]
        return await _reply(service, request, asked, _order(asked), encode, TextFormat)

    _handle_errors(app)
    return app


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
    order: Order,
    encode: Sequence[Encode],
    kind: type[Format],
) -> Response:
    """Have the engine generate and pass its output on while the client stays connected."""
    service.writer.check(order)
    feed: Feed[Event] = Feed()

    def work(job: Job) -> None:
        prompts = [encoder(job.check) for encoder in encode]
        feed.tell(Started(sum(map(len, prompts))))
        for number, ids in enumerate(prompts):
            service.writer.write(ids, order, number * order.choices, job, feed.tell)

    form = kind(service.names[0], service.fingerprint)
    job = service.engine.submit(work, feed.tell)
    streams = False
    try:
        events = feed.events()
        if not asked.stream:
            return Response(await _while_connected(request, form.whole(events)), media_type="application/json")
        started = await _while_connected(request, anext(events))  # until then an error still sets the status
        assert isinstance(started, Started)
        with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        chunks = form.stream(started, events, order.choices * len(encode), with_usage)
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
            f"{request.method} {path}: {error.detail}; served are /v1/chat/completions, /v1/completions, /v1/models"
        )
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        return json_response(error_body(message, error.status_code, code=code), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return json_response(error_body("the server failed; its log says why", 500, code="internal_error"), 500)


def json_response(content: Any, status: int = 200, headers: Any = None) -> Response:
    """Return a response in JSON."""
    return Response(dump(content), status, headers, media_type="application/json")
