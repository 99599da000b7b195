"""Only requests for this host get in, from no page or one that may ask, with the key."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest

from serving import CHAT, JSON, ask, live
from simmim.errors import ConfigError
from simmim.serve import server
from simmim.serve.endpoints import Service, create_app
from simmim.serve.security import Access, Guard
from simmim.serve.server import _SafeFormatter, is_loopback

MODELS = "/v1/models"


def guarded(service: Service, **access: Any) -> Guard:
    return Guard(create_app(service), Access(**access))


@pytest.mark.contract
def test_hosts(service: Service) -> None:
    app = guarded(service, hosts=["box.example.org", "fd00::1"])
    right = "localhost LOCALHOST localhost:8000 127.0.0.1:1 [::1] [::1]:8000 box.example.org. BOX.example.org [fd00::1]"
    for host in right.split():
        assert ask(app, MODELS, headers={"host": host}).status == 200, host
    wrong = (
        "evil.com localhost.evil.com evil.com:8000 127.0.0.1.evil.com 10.0.0.1 0.0.0.0 box2.example.org ::1 localhost:x"
    )
    for host in [*wrong.split(), "", " ", "localhost@evil.com", "evil.com/localhost", "evil.com#localhost", "\xe9.com"]:
        for path in (MODELS, "/health", "/nope"):
            answer = ask(app, path, headers={"host": host})
            assert (answer.status, answer.error["code"]) == (403, "misdirected_request"), host
    assert ask(app, MODELS, headers={"host": "10.0.0.7:8000"}, server="10.0.0.7").status == 200, "its own address"


@pytest.mark.contract
def test_origins(service: Service) -> None:
    app = guarded(service, origins=["https://Chat.example.org/", "http://localhost:3000"])
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for origin in ("https://chat.example.org", "http://localhost:3000"):
        answer = ask(app, MODELS, headers={"origin": origin})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
        asked = ask(app, CHAT, method="OPTIONS", headers={"origin": origin, **preflight})
        assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, origin)
        assert asked.headers["access-control-allow-headers"] == "authorization"
        mistake = ask(app, CHAT, {}, method="POST", headers={**JSON, "origin": origin})
        assert (mistake.status, mistake.headers["access-control-allow-origin"]) == (400, origin), "a page can read why"
    same = ask(app, MODELS, headers={"host": "localhost:8000", "origin": "http://localhost:8000"})
    assert same.status == 200
    for origin in ("http://evil.com", "null", "", "https://localhost:3000", "http://localhost:3001", "file://", "*"):
        for path, method, more in ((MODELS, "GET", {}), (CHAT, "POST", JSON), (CHAT, "OPTIONS", preflight)):
            answer = ask(app, path, method=method, headers={"origin": origin, **more})
            assert (answer.status, answer.error["code"]) == (403, "forbidden_origin")
            assert "access-control-allow-origin" not in answer.headers
    assert ask(guarded(service, origins=["*"]), MODELS, headers={"origin": "http://evil.com"}).status == 200
    assert ask(app, CHAT, method="OPTIONS", headers=preflight).status == 204, "who is no page may ask what it likes"


@pytest.mark.contract
def test_keys(service: Service) -> None:
    app = guarded(service, api_key="s3cret", origins=["http://a.b"])
    wrong = [
        "",
        "s3cret",
        "Bearer",
        "Bearer ",
        "Bearer s3cre",
        "Bearer s3cret2",
        "Basic s3cret",
        "Bearer \xe9",
        "Bearer S3CRET",
    ]
    for given in wrong:
        for path, method in (
            (MODELS, "GET"),
            (CHAT, "POST"),
            ("/nope", "GET"),
            ("/health/", "GET"),
            ("//health", "GET"),
        ):
            answer = ask(app, path, method=method, headers={"authorization": given, **JSON})
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            assert "s3cret" not in answer.body.decode()
    assert ask(app, MODELS).status == 401
    for given in ("Bearer s3cret", "bearer  s3cret "):
        assert ask(app, MODELS, headers={"authorization": given}).status == 200
    assert ask(app, "/health").status == 200
    preflight = {"origin": "http://a.b", "access-control-request-method": "POST"}
    assert ask(app, CHAT, method="OPTIONS", headers=preflight).status == 204, "browsers ask without the key"


def test_options_that_make_no_sense_are_refused() -> None:
    for wrong in ("", "a b", "k\x1b", "ключ", "a\n"):
        with pytest.raises(ConfigError, match="--api-key"):
            Access(api_key=wrong)
    for wrong in ("", "localhost", "https://", "https://a.b/c", "https://a.b?x", "https://a.b:x", "//a.b"):
        with pytest.raises(ConfigError, match="--allow-origin"):
            Access(origins=[wrong])
    for wrong in ("", "a.b:80", "http://a.b", "a/b", "a b", "user@a.b", "*"):
        with pytest.raises(ConfigError, match="--allowed-host"):
            Access(hosts=[wrong])
    assert is_loopback("127.0.0.1")
    assert is_loopback("127.8.0.1")
    assert not is_loopback("0.0.0.0")
    with pytest.raises(ConfigError, match="--host"):
        is_loopback("no such host.")


def test_the_log_holds_neither_secrets_nor_what_steers_a_terminal(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("simmim.serve"), "propagate", True)
    app = guarded(service, api_key="s3cret")
    with caplog.at_level(logging.INFO, "simmim.serve"):
        ask(app, "/\x1b[2J\nfake\u202e", headers={"authorization": "Bearer s3cret"})
    lines = [_SafeFormatter("%(message)s").format(record) for record in caplog.records]
    assert lines
    for line in lines:
        assert "s3cret" not in line
        assert "secret=1" not in line
        assert line.isprintable()
    assert _SafeFormatter("%(message)s").format(logging.makeLogRecord({"msg": "a\x1b[2Jb"})) == "a\ufffd[2Jb"


def test_a_connection_that_sends_no_whole_request_is_closed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.05)
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with live(service) as (address, _):
        port = int(address.rpartition(":")[2])
        for sent in (b"", b"GET /health HTTP/1.1\r\nHost: loc", whole + b"GET /heal"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(sent)
                received = b""
                while part := connection.recv(4096):
                    received += part
                assert received.startswith(b"HTTP/1.1 200" if sent.startswith(whole) else b"")
