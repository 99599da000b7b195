"""Asks an application in this process, and runs a real server in a thread."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from simmim.serve.endpoints import Service, create_app
from simmim.serve.engine import Engine
from simmim.serve.security import Access, Guard
from simmim.serve.server import Server, open_sockets
from simmim.serve.writer import Limits, Writer

JSON = {"content-type": "application/json"}
CHAT, TEXT, MODELS_PATH = "/v1/chat/completions", "/v1/completions", "/v1/models"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """Return the error, which has to have OpenAI's form."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert "Traceback" not in error["message"]
        return error


def a_writer(folder: Path, **limits: int) -> Writer:
    from transformers import AutoModelForCausalLM

    from simmim.tasks.checkpoints import load_model

    return Writer(*load_model(folder, "cpu", auto_class=AutoModelForCausalLM), Limits(**limits))


def a_service(writer: Any, *, max_queue: int = 0, time_limit: float = 3600, max_body: int = 100_000) -> Service:
    engine = Engine(max_queue=max_queue, time_limit=time_limit)
    return Service(writer, engine, ["tiny", "runs/tiny"], "tiny@0", max_body)


def ask(app: ASGIApp, path: str, body: Any = None, **options: Any) -> Answer:
    """Send one request and await the answer."""
    return asyncio.run(asking(app, path, body, **options))


async def asking(
    app: ASGIApp,
    path: str,
    body: Any = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    leave: asyncio.Event | None = None,
    parts: AsyncIterator[bytes] | None = None,
    server: str = "127.0.0.1",
    query: str = "secret=1",
) -> Answer:
    """Send one request and await the answer; ``leave`` says when the client goes, ``parts`` are a body in pieces."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {"host": "localhost:8000", **(JSON if method is None and body is not None else {}), **(headers or {})}
    scope = {
        **{"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http"},
        **{"method": method or ("GET" if body is None and parts is None else "POST"), "path": path},
        **{"raw_path": path.encode(), "query_string": query.encode(), "root_path": ""},
        **{"headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()]},
        **{"client": ("127.0.0.1", 5000), "server": (server, 8000), "state": {}},
    }
    sent: list[dict[str, Any]] = []
    read = False

    async def receive() -> dict[str, Any]:
        nonlocal read
        if not read:
            if parts is not None:
                async for part in parts:
                    return {"type": "http.request", "body": part, "more_body": True}
            read = True
            return {"type": "http.request", "body": content, "more_body": False}
        await (leave or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    headers_back = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers_back, b"".join(message.get("body", b"") for message in sent[1:]))


@contextmanager
def live(service: Service, access: Access | None = None) -> Iterator[tuple[str, Server]]:
    """Serve on a free port of this machine; yields the address and the server."""
    with running(Guard(create_app(service), access or Access()), service.engine) as found:
        yield found


@contextmanager
def running(app: ASGIApp, engine: Engine) -> Iterator[tuple[str, Server]]:
    """Serve an application on a free port of this machine; yields the address and the server."""
    ready = threading.Event()
    sockets = open_sockets("127.0.0.1", 0)
    server = Server(app, engine, lambda _: ready.set())
    thread = threading.Thread(target=server.run, args=(sockets,))
    thread.start()
    try:
        ready.wait()
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join()
