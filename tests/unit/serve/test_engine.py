"""One request at a time: few wait, the others are told when to come again, and nobody computes for who has gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from serving import CHAT, TEXT, Answer, a_service, ask, asking, live
from simmim.serve.endpoints import Service, create_app
from simmim.serve.engine import Cancelled, Engine, Expired, Job
from simmim.serve.errors import RequestError
from simmim.serve.writer import Ended, Piece, Writer

BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}


class Endless:
    """Stands in for a model: writes one piece, and goes on until nobody awaits it."""

    def __init__(self) -> None:
        self.written = threading.Event()
        self.given_up = threading.Event()
        self.prompts = self

    def check(self, order: Any) -> None: ...

    def conversation(self, messages: Any, check: Any) -> list[int]:
        return [1]

    def write(self, ids: list[int], order: Any, first: int, job: Job, tell: Any) -> None:
        tell(Piece(0, "so"))
        self.written.set()
        try:
            while True:
                job.check()
                time.sleep(0.001)
        except Cancelled:
            self.given_up.set()
            raise
        except Expired:
            tell(Ended(0, "length", 1))


@pytest.fixture
def endless() -> Iterator[Service]:
    service = a_service(Endless(), max_queue=1)
    yield service
    service.engine.stop()
    service.engine.join(600)


async def reached(service: Service, running: int, waiting: int) -> None:
    while service.engine.load != (running, waiting):
        await asyncio.sleep(0.001)


@pytest.mark.contract
@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_frees_the_place(endless: Service, stream: bool) -> None:
    app = create_app(endless)

    async def scene() -> Answer:
        leave, other = asyncio.Event(), asyncio.Event()
        body = {**BODY, "stream": stream}
        running = asyncio.create_task(asking(app, CHAT, body, leave=leave))
        await reached(endless, 1, 0)
        waiting = asyncio.create_task(asking(app, CHAT, body, leave=other))
        await reached(endless, 1, 1)
        other.set()  # who waits leaves at once, without a turn
        await waiting
        await reached(endless, 1, 0)
        leave.set()
        answer = await running
        await reached(endless, 0, 0)
        return answer

    answer = asyncio.run(scene())
    assert answer.status == (200 if stream else 499)
    assert endless.writer.given_up.is_set()  # type: ignore[attr-defined]


def test_a_full_queue_says_when_to_come_again(endless: Service) -> None:
    app = create_app(endless)

    async def scene() -> Answer:
        leave = asyncio.Event()
        first = asyncio.create_task(asking(app, CHAT, BODY, leave=leave))
        await reached(endless, 1, 0)
        second = asyncio.create_task(asking(app, CHAT, BODY, leave=leave))
        await reached(endless, 1, 1)
        assert (await asking(app, "/health")).json == {"status": "ok", "running": 1, "waiting": 1}
        refused = await asking(app, CHAT, BODY)
        assert (await asking(app, CHAT, {**BODY, "n": 0})).status == 400, "a mistake is one at any time"
        leave.set()
        await asyncio.gather(first, second)
        return refused

    refused = asyncio.run(scene())
    assert (refused.status, refused.error["type"], refused.error["code"]) == (503, "server_error", "server_busy")
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_a_request_ends_with_its_time() -> None:
    service = a_service(Endless(), time_limit=0.01)
    answer = ask(create_app(service), CHAT, BODY)
    assert [choice["finish_reason"] for choice in answer.json["choices"]] == ["length"]

    def reads(job: Job) -> None:
        while True:
            job.check()

    heard: list[RequestError | None] = []
    ended = threading.Event()

    def hear(error: RequestError | None) -> None:
        heard.append(error)
        ended.set()

    service.engine.submit(reads, hear)
    ended.wait()
    assert [(error.status, error.code) for error in heard if error] == [(504, "timeout")]
    service.engine.stop()


def test_a_failure_is_its_own_requests_alone(caplog: pytest.LogCaptureFixture) -> None:
    service = a_service(Endless())
    service.writer.write = lambda *_: 1 / 0  # type: ignore[method-assign]
    answer = ask(create_app(service), CHAT, BODY)
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert "division" not in answer.body.decode()
    assert service.engine.load == (0, 0)
    streamed = ask(create_app(service), CHAT, {**BODY, "stream": True})
    assert (streamed.status, streamed.body.count(b"data: ")) == (200, 2)
    assert b"internal_error" in streamed.body
    assert b"[DONE]" not in streamed.body
    service.engine.stop()


def test_the_engine_keeps_the_order_and_takes_nothing_after_its_end() -> None:
    engine = Engine(max_queue=5, time_limit=60)
    order: list[int] = []
    done = threading.Event()
    gate = threading.Event()
    engine.submit(lambda job: gate.wait() and None, lambda error: None)
    jobs = [engine.submit(lambda job, n=n: order.append(n), lambda error, n=n: n == 4 and done.set()) for n in range(5)]
    engine.cancel(jobs[2])
    gate.set()
    done.wait()
    assert order == [0, 1, 3, 4]
    engine.stop()
    engine.join(600)
    with pytest.raises(RequestError, match="shutting down"):
        engine.submit(lambda job: None, lambda error: None)


def test_a_real_client_that_leaves_frees_the_place_and_shutdown_ends_what_runs(writer: Writer) -> None:
    """The model writes on until it is told to stop: no limit of its own is in reach."""
    limits = writer.limits
    writer.limits = type(limits)(max_context=1 << 20, max_new_tokens=1 << 19)
    service = a_service(writer)
    forever: dict[str, Any] = {"model": "tiny", "prompt": "a", "logit_bias": {"2": -100}, "max_tokens": 1 << 19}
    ends = {str(token): -100 for token in writer._ends}
    forever["logit_bias"] = ends
    try:
        with live(service) as (address, server), openai.OpenAI(base_url=f"{address}/v1", api_key="x") as client:
            client = client.with_options(max_retries=0)
            stream = client.completions.create(**forever, stream=True)
            next(iter(stream))
            assert service.engine.load == (1, 0)
            with pytest.raises(openai.InternalServerError, match="the queue is full") as refusal:
                client.completions.create(model="tiny", prompt="a")
            assert refusal.value.response.headers["retry-after"]
            stream.close()
            asyncio.run(reached(service, 0, 0))
            assert client.completions.create(model="tiny", prompt="a").usage.completion_tokens <= 16
            streaming = client.completions.create(**forever, stream=True)
            next(iter(streaming))
            server.should_exit = True
            with pytest.raises(openai.APIError, match="shutting down"):
                list(streaming)
            asyncio.run(reached(service, 0, 0))
    finally:
        writer.limits = limits


def test_reading_a_long_prompt_is_given_up_between_its_parts(writer: Writer) -> None:
    calls = 0

    class Impatient(Job):
        def check(self) -> None:
            nonlocal calls
            calls += 1
            if calls == 5:  # the second part of the prompt: the model and two layers are checked in each
                raise Cancelled

    limits = writer.limits
    writer.limits = type(limits)(max_context=1 << 20, max_new_tokens=10)
    try:
        from simmim.serve.sampling import Sampling
        from simmim.serve.writer import Order

        job = Impatient(lambda job: None, lambda error: None, 0)
        with pytest.raises(Cancelled):
            writer.write([5] * 6000, Order(Sampling()), 0, job, lambda event: None)
        assert calls == 5
    finally:
        writer.limits = limits


def test_a_text_that_is_far_too_long_is_not_encoded_to_its_end(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    ids = writer.prompts._ids
    monkeypatch.setattr(writer.prompts, "_ids", lambda text, **more: (encoded.append(len(text)), ids(text, **more))[1])
    service = a_service(writer, max_body=2_000_000)
    answer = ask(create_app(service), TEXT, {"model": "tiny", "prompt": "word " * 300_000})
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert sum(encoded) < 100_000
    service.engine.stop()
