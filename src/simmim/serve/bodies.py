"""Reads the body of a request within limits of type, size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from simmim.serve.errors import RequestError

__all__ = ["read_body"]

_SECONDS = 30
_DISCARDED = 64 << 20
"""Bytes to read and discard beyond the limit, so that the client gets an answer instead of a broken connection."""


async def read_body(request: Request, limit: int) -> bytes:
    """Read the body of a request.

    Args:
        request: the request.
        limit: maximum size in bytes.

    Raises:
        RequestError: the content type is not JSON (415), or the body is too long (413) or too slow (408).
        ClientDisconnect: the client has closed the connection.
    """
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":  # browsers send other types across sites without a preflight request
        raise RequestError("Content-Type: expected application/json", status=415, code="unsupported_media_type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError("Content-Encoding: expected none", status=415, code="unsupported_media_type")
    too_long = RequestError(f"body: expected at most {limit} bytes", status=413, code="request_too_large")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    parts.clear()
                else:
                    parts.append(part)
                if size > limit + _DISCARDED:
                    too_long.headers["Connection"] = "close"
                    break
    except TimeoutError:
        raise RequestError(
            f"body: expected all of it within {_SECONDS} s",
            status=408,
            code="timeout",
            headers={"Connection": "close"},
        ) from None
    if size > limit:
        raise too_long
    return b"".join(parts)
