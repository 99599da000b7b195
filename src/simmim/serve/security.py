"""Admits only requests with an allowed host, origin and key, and logs each of them."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import time
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simmim.errors import ConfigError
from simmim.serve.errors import RequestError
from simmim.serve.formats import dump

__all__ = ["Access", "Guard", "host_name", "origin"]

logger = logging.getLogger("simmim.serve")

_OPEN = ("/health",)
_PREFLIGHT_SECONDS = "600"


class Access:
    """Holds the allowed hosts and origins and the key.

    Args:
        hosts: allowed host names, besides ``localhost`` and the address of the connection.
        origins: allowed origins of web pages, such as ``https://chat.example.org``; ``*`` for all.
        api_key: the key in ``Authorization: Bearer …``, required except for /health; None requires none.

    Raises:
        ConfigError: a host, an origin or the key is not valid.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = (), api_key: str | None = None) -> None:
        self.hosts = {"localhost", "127.0.0.1", "::1", *map(_host, hosts)}
        self.origins = {one if one == "*" else origin(one) for one in origins}
        if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable() and " " not in api_key):
            raise ConfigError("--api-key: expected one or more visible ASCII characters without blanks")
        self.key = None if api_key is None else api_key.encode()


class Guard:
    """Refuses requests from foreign web pages and to foreign host names before reading their body.

    A web page in a browser on this machine can send requests to it: across origins, or under its own host name by DNS
    rebinding. Both are refused. Clients other than web pages send no ``Origin``.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        headers = Headers(scope=scope)
        shared: dict[str, str] = {}

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(shared)
            await send(message)

        try:
            self._check_host(scope, headers)
            shared |= self._check_origin(headers)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await _answer(sending, 204, b"", _preflight(headers))
            else:
                self._check_key(scope, headers)
                await self._app(scope, receive, sending)
        except RequestError as error:
            await _answer(sending, error.status, dump(error.body), error.headers)
        finally:
            self._log(scope, status, time.monotonic() - began)

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        own = (scope.get("server") or ("",))[0]
        given = host_name(headers.get("host", ""))
        if len(headers.getlist("host")) != 1 or given is None or given not in {*self._access.hosts, own}:
            raise RequestError(
                f"Host: expected a name of this server, got {ascii(headers.get('host'))[:80]}; the option "
                "--allowed-host adds one",
                status=403,
                code="misdirected_request",
            )

    def _check_origin(self, headers: Headers) -> dict[str, str]:
        """Return the headers that let a web page read the response."""
        given = headers.getlist("origin")
        if not given:
            return {}
        own = headers["host"].lower()
        if len(given) == 1 and ({given[0].lower(), "*"} & self._access.origins):
            return {"Access-Control-Allow-Origin": given[0], "Vary": "Origin"}
        if len(given) == 1 and given[0].lower() in (f"http://{own}", f"https://{own}"):
            return {}
        raise RequestError(
            f"Origin: expected one that may ask, got {ascii(given[0])[:80]}; the option --allow-origin adds one",
            status=403,
            code="forbidden_origin",
        )

    def _check_key(self, scope: Scope, headers: Headers) -> None:
        if self._access.key is None or scope["path"] in _OPEN:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._access.key):
            raise RequestError(
                "Authorization: expected `Bearer` and the key that the server was started with",
                status=401,
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        """Log a request without its query and headers, which may contain secrets."""
        path = ascii(scope["path"])[1:-1][:100]
        client = (scope.get("client") or ("?",))[0]
        logger.info("%s %s %s %s %.3f s", client, scope["method"], path, status or "-", seconds)


def host_name(value: str) -> str | None:
    """Return the name in a ``Host`` header in lower case, without port and brackets; None if it is not valid."""
    try:
        parts = urlsplit(f"//{value}")
        found, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not found or parts.username is not None or parts.netloc != value or any(sign in value for sign in "/?#@ \\"):
        return None
    return found.rstrip(".") or None


def origin(value: str) -> str:
    """Return an origin as browsers write it.

    Raises:
        ConfigError: it is not an origin.
    """
    try:
        parts = urlsplit(value)
        known = bool(parts.hostname) and (parts.port or True)
    except ValueError:
        known = False
    if value == "null":
        return value
    if not known or not parts.scheme or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(f"--allow-origin: expected one such as https://chat.example.org, or *, got {value!r}")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _host(value: str) -> str:
    """Return an allowed host name in lower case, or an address in its normal form."""
    try:
        return str(ipaddress.ip_address(value.strip("[]")))
    except ValueError:
        found = host_name(value)
    if found is None or found != value.lower().rstrip(".") or not re.fullmatch(r"[\w.-]+", found):
        raise ConfigError(f"--allowed-host: expected a name such as box.example.org, without a port, got {value!r}")
    return found


def _preflight(headers: Headers) -> dict[str, str]:
    """Return the headers of the answer to a preflight request."""
    allowed = {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": headers.get("access-control-request-headers", "authorization, content-type"),
        "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
    }
    if headers.get("access-control-request-private-network") == "true":
        allowed["Access-Control-Allow-Private-Network"] = "true"
    return allowed


async def _answer(send: Send, status: int, body: bytes, headers: MutableMapping[str, Any]) -> None:
    about = MutableHeaders(headers)
    if body:
        about["Content-Type"] = "application/json"
    if status != 204:
        about["Content-Length"] = str(len(body))
    await send({"type": "http.response.start", "status": status, "headers": about.raw})
    await send({"type": "http.response.body", "body": body})
