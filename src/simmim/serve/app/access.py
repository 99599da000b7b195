"""Lets only the browser in that opened the printed address, and says what its page may load."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simmim.serve.errors import error_body
from simmim.serve.responses import json_response

__all__ = ["TokenGuard", "new_token"]

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_OPEN = ("/health",)
_CLOSED = """<!doctype html><html lang="en"><meta charset="utf-8"><title>SimMIM</title>
<h1>SimMIM</h1>
<p>Open the address that <code>simmim app</code> printed; it ends in <code>?token=…</code>.</p>
<p lang="zh">请打开 <code>simmim app</code> 打印的网址，它以 <code>?token=…</code> 结尾。</p>
</html>"""


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(24)


class TokenGuard:
    """Admits requests with the token, and adds the headers that confine the page.

    The address with `?token=` sets a cookie for this port, of which scripts and other sites see nothing, and goes on
    to the address without it. Programs send `Authorization: Bearer`. Requests that a page of another site or port
    makes are refused, whatever they carry.

    Args:
        app: what is guarded.
        token: the token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                found.update(_HEADERS)
                if "cache-control" not in found:
                    found["Cache-Control"] = "no-store"
            await send(message)

        await (self._refusal(scope) or self._app)(scope, receive, sending)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_visit(scope, headers):
            message = "Sec-Fetch-Site: expected a request of the app's own page"
            return json_response(error_body(message, 403, code="forbidden_origin"), 403)
        if scope["path"] in _OPEN:
            return None
        cookie = f"simmim-{(scope.get('server') or ('', 0))[1]}"
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._right(given):
            return Response(
                status_code=303,
                headers={
                    "Location": "/",
                    "Set-Cookie": f"{cookie}={given}; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000",
                },
            )
        kind, _, key = headers.get("authorization", "").partition(" ")
        if (kind.lower() == "bearer" and self._right(key.strip())) or self._right(_cookie(headers, cookie)):
            return None
        if scope["path"] == "/":
            return HTMLResponse(_CLOSED, 401)
        message = "token: expected that of the address that simmim app printed, in a cookie or as Authorization: Bearer"
        return json_response(error_body(message, 401, code="invalid_api_key"), 401, {"WWW-Authenticate": "Bearer"})

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)


def _cookie(headers: Headers, name: str) -> str:
    return cookie_parser(headers.get("cookie", "")).get(name, "")


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Whether the user follows a link to the page, in mail or a terminal in the browser."""
    return scope["path"] == "/" and scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
