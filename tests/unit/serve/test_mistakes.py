"""Whatever a client gets wrong is answered with 400 to 499 and the parameter's name, and never stops the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import CHAT, TEXT, Answer, ask
from simmim.serve.endpoints import Service, create_app

HELLO = [{"role": "user", "content": "a user asks"}]
CHAT_BODY: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 2}
TEXT_BODY: dict[str, Any] = {"model": "tiny", "prompt": "a user asks", "max_tokens": 2}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def user(content: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content, **more}]


BOTH: list[tuple[str, Any]] = [
    *[("model", value) for value in (None, 1, ["tiny"], "x" * 600)],
    *[("temperature", value) for value in (-0.1, 2.1, "1", True, [], {}, 10**400)],
    *[("top_p", value) for value in (0, -1, 1.1, "1", True)],
    *[("max_tokens", value) for value in (0, -1, 25, 10**30, "5", 1.5, True)],
    *[("n", value) for value in (0, 9, -1, 10**30, "2", 1.0)],
    *[("seed", value) for value in (1.5, "1", True, 2**63, -(2**63) - 1, 10**30)],
    *[("stop", value) for value in (1, ["a"] * 5, [""], "", [1], [None], {"a": 1}, "x" * 1001)],
    *[("presence_penalty", value) for value in (-2.1, 2.1, "0")],
    *[("frequency_penalty", value) for value in (-2.1, 2.1, [])],
    *[("logit_bias", value) for value in ([], {"a": 1}, {"5": 101}, {"5": "1"}, {"99999": 1}, {"-1": 1}, {"5": True})],
    *[("stream", value) for value in (1, "true")],
    *[("stream_options", value) for value in ({"include_usage": True}, 1)],
    *[("logprobs", value) for value in (True, 1)],
    *[("user", value) for value in (1, [])],
    ("no_such_parameter", 1),
    ("top_k", 5),
]
ONLY_CHAT: list[tuple[str, Any]] = [
    *[("messages", value) for value in (None, [], "hello", {}, [1], [[]], [None], HELLO * 2049)],
    *[("messages[0].role", [{"role": role, "content": "x"}]) for role in ("tool", "narrator", "", 1, None, "User")],
    *[("messages[0].content", user(value)) for value in (None, 1, [], {}, [1], ["x"], [{"type": "text"}])],
    *[("messages[0].content", user([{"type": "text", "text": value}])) for value in (1, None)],
    ("messages[0].content", user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])),
    ("messages[0].content", user([{"type": "text", "text": "x", "cache": 1}])),
    *[("messages[0].content", user(f"x{token}y")) for token in ("</s>", "<s>", "<|end|>", "<|turn|>", "<pad>")],
    *[("messages[0].name", user("x", name=name)) for name in (5, "x" * 65, "a\x1b[2J", "a<|says|>b")],
    ("messages[0].role", [{"content": "x"}]),
    ("messages[0].content", [{"role": "user"}]),
    ("messages[0].more", user("x", more=1)),
    ("messages[0].tool_calls", [{"role": "assistant", "content": "x", "tool_calls": [TOOL]}]),
    ("messages", user("word " * 400)),
    *[("response_format", value) for value in ({"type": "json_object"}, "text", {})],
    *[("tools", value) for value in ([TOOL], "x", 1)],
    *[("tool_choice", value) for value in ("auto", "required", TOOL)],
    *[("functions", [TOOL]), ("function_call", "auto"), ("top_logprobs", 3), ("audio", {"voice": "x"})],
    *[("modalities", ["audio"]), ("reasoning_effort", "high"), ("web_search_options", {"a": 1})],
    *[("metadata", {"a": 1}), ("store", 1), ("service_tier", 1), ("parallel_tool_calls", "x")],
]
ONLY_TEXT: list[tuple[str, Any]] = [
    *[("prompt", value) for value in (None, 1, {}, [], [[]], [1.5], [True], ["x", 1], [1, "x"], [[1], "x", [None]])],
    *[("prompt", value) for value in ([-1], [10**30], [99999], ["x"] * 17, "word " * 400, [5] * 400)],
    *[("echo", True), ("suffix", "x"), ("best_of", 3), ("best_of", 0)],
]
ROWS = [
    *[(CHAT, {**CHAT_BODY, name: value}, name) for name, value in BOTH],
    *[(TEXT, {**TEXT_BODY, name: value}, name) for name, value in BOTH],
    *[(CHAT, {**CHAT_BODY, param.partition("[")[0]: value}, param) for param, value in ONLY_CHAT],
    *[(TEXT, {**TEXT_BODY, param: value}, param) for param, value in ONLY_TEXT],
    *[(CHAT, {key: CHAT_BODY[key] for key in CHAT_BODY if key != left}, left) for left in ("model", "messages")],
    (CHAT, {**CHAT_BODY, "max_completion_tokens": 2}, "max_tokens"),
    *[
        (CHAT, {"model": "tiny", "messages": HELLO, "max_completion_tokens": value}, "max_completion_tokens")
        for value in (0, 25, 10**30, "1")
    ],
]


@pytest.mark.contract
def test_every_mistake_is_400_and_named(service: Service) -> None:
    app = create_app(service)
    for path, body, param in ROWS:
        answer = ask(app, path, body)
        shown = (path, {key: str(body[key])[:80] for key in body}, answer.body[:300])
        assert answer.status == 400, shown
        assert param in answer.error["message"], shown
        assert (answer.error["param"] or "").startswith(param.partition("[")[0]), shown
        assert answer.error["type"] == "invalid_request_error"
    assert len(ROWS) > 150
    assert ask(app, CHAT, CHAT_BODY).status == ask(app, TEXT, TEXT_BODY).status == 200, "as before"


@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"{", b"[]", b"null", b"1", b'"x"', b"{} {}", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 50_000],
        *[b'{"a":' * 9000, b"9" * 9000, json.dumps(CHAT_BODY).encode("utf-16"), b'{"model": "\x00"}'],
        json.dumps({**CHAT_BODY, "messages": user("cut \ud83d")}).encode(),
        json.dumps({**CHAT_BODY, "cut \ud83d": 1}).encode(),
        *[json.dumps({**CHAT_BODY, "temperature": float(value)}).encode() for value in ("nan", "inf", "-inf")],
        json.dumps(CHAT_BODY).replace("2", "1e999").encode(),
        json.dumps({**CHAT_BODY, "messages": [{**HELLO[0], "x\x1b[2J\n": 1}]}).encode(),
    ],
)
def test_what_is_no_request_is_400(service: Service, body: bytes) -> None:
    answer = ask(create_app(service), CHAT, body)
    assert answer.status == 400
    assert answer.error["message"].isprintable()


def test_a_wrong_model_path_or_method_says_what_there_is(service: Service) -> None:
    app = create_app(service)
    for name in ("another", "", "../tiny", "/etc", "Tiny"):
        answer = ask(app, CHAT, {**CHAT_BODY, "model": name})
        assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert ask(app, "/v1/models/another").error["code"] == "model_not_found"
    for path in (
        "/",
        "/v1",
        "/health/",
        "/load_model",
        "/reset",
        "/docs",
        "/openapi.json",
        "/v1/embeddings",
        "/\x1b[2J",
    ):
        answer = ask(app, path)
        assert answer.status == 404
        assert answer.error["message"].isprintable()
    for path in (CHAT, TEXT):
        assert ask(app, path).status == 405
    for path in ("/load_model", "/reset"):
        assert ask(app, path, {}).status == 404
    assert ask(app, "/health", method="DELETE").status == 405
    assert ask(app, "/v1/models/runs/tiny").json == ask(app, "/v1/models/tiny").json


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from([2**63, "</s>"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(sorted({param.partition("[")[0] for _, _, param in ROWS}))
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from(["user", "assistant", "tool"]) | VALUES, "content": VALUES}
    )
)


@pytest.mark.contract
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from([CHAT, TEXT]), changes=st.dictionaries(NAMES, VALUES, max_size=3), messages=MESSAGES)
def test_no_body_is_the_servers_fault(service: Service, path: str, changes: Any, messages: Any) -> None:
    base = {**CHAT_BODY, "messages": messages or HELLO} if path == CHAT else TEXT_BODY
    answer: Answer = ask(create_app(service), path, {**base, **changes})
    assert 200 <= answer.status < 500
    if answer.status != 200:
        assert answer.error["message"]


def test_a_body_of_any_size_or_form_has_an_answer(service: Service) -> None:
    app = create_app(service)
    large = {**CHAT_BODY, "messages": user("x" * 200_000)}

    async def pieces(count: int):
        for _ in range(count):
            yield b" " * 60_000

    assert ask(app, CHAT, large).status == 413
    assert ask(app, CHAT, parts=pieces(4), headers={"content-type": "application/json"}).status == 413
    endless = ask(app, CHAT, parts=pieces(10**9), headers={"content-type": "application/json"})
    assert (endless.status, endless.headers["connection"]) == (413, "close")
    for headers in (
        *({"content-type": kind} for kind in ("text/plain", "", "application/x-www-form-urlencoded", "text/json")),
        {"content-type": "application/json", "content-encoding": "gzip"},
    ):
        answer = ask(app, CHAT, CHAT_BODY, method="POST", headers=headers)
        assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert ask(app, CHAT, CHAT_BODY, headers={"content-type": "Application/JSON; charset=utf-8"}).status == 200
