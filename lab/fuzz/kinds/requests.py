"""Server requests: HTTP with invalid bodies, headers or bytes."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from pathlib import Path
from random import Random
from typing import Any

from lab.fuzz.cases import Verdict
from lab.fuzz.good import causal_model
from lab.fuzz.mutations import ODD_TEXTS, damage_bytes, mutate_json, odd_value, to_json

__all__ = ["requests"]

_MODEL = "causal"
_PATIENCE = 8.0  # seconds
_BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": _MODEL,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a small editor"}], "name": "Ann"},
        ],
        "max_tokens": 3,
    },
    "/v1/completions": {"model": _MODEL, "prompt": ["a small editor", "of text"], "max_tokens": 3},
}
_PARAMETERS = (
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "seed", "stop", "stream", "stream_options"),
    *("logprobs", "top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty", "tools", "tool_choice"),
    *("response_format", "user", "metadata", "echo", "suffix", "best_of", "functions", "modalities", "nothing_such"),
)
_HEADERS = (
    "Host: evil.example",
    "Origin: http://evil.example",
    "Origin: null",
    "Content-Type: text/plain",
    "Content-Type: application/x-www-form-urlencoded",
    "Content-Length: 99999999999",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Authorization: Bearer \x1b[31m",
    "Expect: 100-continue",
    "Content-Encoding: gzip",
    "Upgrade: websocket\r\nConnection: Upgrade",
    "X-Long: " + "x" * 70_000,
)
_PATHS = (
    "/",
    "/load_model",
    "/reset",
    "/v1/models",
    "/v1/models/../../etc/passwd",
    "/v1/models/%00",
    "//",
    "/docs",
    "*",
)


def requests(rng: Random, good: Path, workdir: Path) -> Verdict:
    """Send a bad request to a server in this process; it must then still answer a good one."""
    port = _start(good)
    path = rng.choice(list(_BODIES))
    body: Any = _BODIES[path]
    action = rng.random()
    if action < 0.4:
        body = to_json(mutate_json(rng, body, rng.choice((1, 1, 2))))
    elif action < 0.75:
        body = to_json(body | {rng.choice(_PARAMETERS): odd_value(rng)})
    elif action < 0.85:
        body = damage_bytes(rng, to_json(body))
    else:
        body = to_json(rng.choice((odd_value(rng), {"model": _MODEL, "messages": rng.choice(ODD_TEXTS) * 20})))
    method = "POST"
    if rng.random() < 0.1:
        path, method = rng.choice(_PATHS), rng.choice(("GET", "POST", "PUT", "OPTIONS", "TRACE", "BREW"))
    headers = [rng.choice(_HEADERS)] if rng.random() < 0.2 else []
    content, patience = _request(method, path, body, headers), _PATIENCE
    damaged = rng.random() < 0.1
    if damaged or headers:  # the server may wait for more bytes
        content, patience = damage_bytes(rng, content) if damaged else content, 1.0
    verdict = _judge(_send(port, content, patience))
    if verdict.fault:
        return verdict
    good_one = _request("POST", "/v1/completions", to_json(_BODIES["/v1/completions"]), [])
    status, answer = _send(port, good_one, _PATIENCE)
    if status != 200:
        return Verdict(verdict.accepted, "server down", f"a good request then got {status}: {answer[:500]!r}")
    return verdict


def _request(method: str, path: str, body: bytes, headers: list[str]) -> bytes:
    given = {header.partition(":")[0] for header in headers}
    usual = ("Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close")
    lines = [f"{method} {path} HTTP/1.1", *(line for line in usual if line.partition(":")[0] not in given), *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _send(port: int, content: bytes, patience: float) -> tuple[int, bytes]:
    """Send bytes and read the response to its end; return status 0 if none came within `patience` seconds."""
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(patience)
        with contextlib.suppress(OSError):
            connection.sendall(content)
            while piece := connection.recv(65_536):
                answer += piece
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else 0), body


def _judge(answer: tuple[int, bytes]) -> Verdict:
    """Judge a response: a client error must be a 4xx with a message."""
    status, body = answer
    if status >= 500:
        return Verdict(False, "status 5xx", f"{status}: {body[:2_000]!r}")
    if b"Traceback" in body:
        return Verdict(False, "traceback", repr(body[:2_000]))
    if status in (0, 499) or body.startswith(b"Invalid HTTP request"):  # invalid or incomplete HTTP
        return Verdict(False)
    if status >= 400:
        try:
            json.loads(body)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            return Verdict(False, "no reason", f"{status}: {body[:2_000]!r}")
    return Verdict(status < 400)


def _start(good: Path) -> int:
    """Run the server in a daemon thread; return its port."""
    from transformers import AutoModelForCausalLM

    from simmim.serve.endpoints import Service, create_app
    from simmim.serve.engine import Engine
    from simmim.serve.security import Access, Guard
    from simmim.serve.server import Server, open_sockets
    from simmim.serve.writer import Limits, Writer
    from simmim.tasks.checkpoints import load_model

    writer = Writer(*load_model(causal_model(good), "cpu", auto_class=AutoModelForCausalLM), Limits(4_096, 64))
    engine = Engine(max_queue=4, time_limit=60)
    app = create_app(Service(writer, engine, [_MODEL], "causal@0"))
    [listening] = open_sockets("127.0.0.1", 0)
    server = Server(Guard(app, Access([], [], None)), engine)
    for name in ("simmim.serve", "uvicorn"):  # a line for each request or bad request would mix with the results
        logging.getLogger(name).setLevel(logging.ERROR)
    threading.Thread(target=server.run, args=([listening],), daemon=True).start()
    port: int = listening.getsockname()[1]
    return port
