"""The endpoints: OpenAI's chat completions, completions and models, and whether the server is alive."""

from __future__ import annotations

import asyncio
import logging
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
from simmim.serve.feed import Feed, Started
from simmim.serve.formats import ChatFormat, Format, TextFormat, dump
from simmim.serve.sampling import Sampling
from simmim.serve.schemas import ChatRequest, CompletionRequest, GenerationRequest, parse
from simmim.serve.writer import Order, Writer

__all__ = ["Service", "create_app"]

logger = logging.getLogger("simmim.serve")

_GONE = 499  # what servers write into their logs of a client that has gone; nobody reads it

Encode = Callable[[Callable[[], None]], list[int]]


@dataclass(frozen=True)
class Service:
    """Holds what the endpoints serve.

    Attributes:
        writer: the model.
        engine: has it write.
        names: of the model; the first one is its id, by the others it is known, too.
        fingerprint: what the model is, to the last weight.
        max_body: bytes that a request may have.
        created: when the model was loaded.
    """

    writer: Writer
    engine: Engine
    names: Sequence[str]
    fingerprint: str
    max_body: int = 2_000_000
    created: int = field(default_factory=lambda: int(time.time()))

    def card(self, name: str) -> dict[str, Any]:
        """Return what is said of the model.

        Raises:
            RequestError: it is not called so.
        """
        if name not in self.names:
            raise RequestError(
                f"model: expected {self.names[0]!r}, which is served here, got {ascii(name)[:80]}",
                status=404,
                param="model",
                code="model_not_found",
            )
        return {"id": self.names[0], "object": "model", "created": self.created, "owned_by": "simmim"}


def create_app(service: Service) -> FastAPI:
    """Return the application, without the guard of ``simmim.serve.security``.

    Args:
        service: what it serves.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    @app.get("/health")
    async def health() -> Response:
        running, waiting = service.engine.load
        return _json({"status": "ok", "running": running, "waiting": waiting})

    @app.get("/v1/models")
    async def models() -> Response:
        return _json({"object": "list", "data": [service.card(service.names[0])]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        return _json(service.card(name))

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
        encode = [_of(service, prompt) for prompt in asked.prompt]
        return await _reply(service, request, asked, _order(asked), encode, TextFormat)

    _handle_errors(app)
    return app


def _of(service: Service, prompt: str | list[int]) -> Encode:
    return lambda check: service.writer.prompts.prompt(prompt, check)


def _order(asked: GenerationRequest) -> Order:
    """Return what a request asks for, in place of what it leaves out what the reference says."""
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
    """Have the engine write, and hand on what it writes for as long as the client is there."""
    service.writer.check(order)
    feed = Feed()

    def work(job: Job) -> None:
        prompts = [one(job.check) for one in encode]
        feed.tell(Started(sum(map(len, prompts))))
        for number, ids in enumerate(prompts):
            service.writer.write(ids, order, number * order.choices, job, feed.tell)

    form = kind(service.names[0], service.fingerprint)
    job = service.engine.submit(work, feed.tell)
    streams = False
    try:
        events = feed.events()
        if not asked.stream:
            return Response(await _while_there(request, form.whole(events)), media_type="application/json")
        started = await _while_there(request, anext(events))  # an error before it still has a status of its own
        assert isinstance(started, Started)
        with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        chunks = form.stream(started, events, order.choices * len(encode), with_usage)
        response = _EventStream(chunks, lambda: service.engine.cancel(job))
        streams = True
        return response
    finally:
        if not streams:
            service.engine.cancel(job)


class _EventStream(StreamingResponse):
    """A stream that says when it is over, however it ends."""

    def __init__(self, chunks: AsyncIterator[bytes], over: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; it ends early where the client goes."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


async def _while_there(request: Request, result: Any) -> Any:
    """Await a result while the client does.

    Raises:
        ClientDisconnect: it has gone.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving, working = asyncio.ensure_future(gone()), asyncio.ensure_future(_awaited(result))
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
        return _json(error.body, error.status, error.headers)

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
        return _json(error_body(message, error.status_code, code=code), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return _json(error_body("the server failed; its log says why", 500, code="internal_error"), 500)


def _json(content: Any, status: int = 200, headers: Any = None) -> Response:
    return Response(dump(content), status, headers, media_type="application/json")
