"""What the app's requests hold, within limits."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.requests import Request

from simmim.serve.errors import RequestError

__all__ = ["MOST_BYTES", "AskRequest", "SummaryRequest", "TranslationRequest", "read_upload"]

MOST_BYTES = 128 << 20
_SECONDS = 300.0
_MOST_CHARACTERS = 1 << 40

Position = Annotated[int, Field(ge=0, le=_MOST_CHARACTERS)]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class _Part(_Strict):
    """A document, or a part of it."""

    begin: Position | None = None
    end: Position | None = None

    @model_validator(mode="after")
    def _check(self) -> _Part:
        if (self.begin is None) != (self.end is None) or (self.begin or 0) > (self.end or 0):
            raise ValueError("begin: expected both of begin and end, in order, or neither")
        return self

    @property
    def span(self) -> tuple[int, int] | None:
        """The part; None for the whole document."""
        return None if self.begin is None or self.end is None else (self.begin, self.end)


class SummaryRequest(_Part):
    """Asks for a summary."""

    length: Literal["line", "paragraph", "page"] = "paragraph"


class AskRequest(_Strict):
    """Asks a question."""

    question: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    passages: Annotated[int, Field(ge=1, le=16)] = 3
    max_new_tokens: Annotated[int, Field(ge=1, le=2048)] = 256


class TranslationRequest(_Part):
    """Asks for a translation."""

    to: Language
    source: Language | None = None


async def read_upload(request: Request, limit: int = MOST_BYTES) -> tuple[str, bytes]:
    """Read an uploaded file.

    Returns:
        Its name and its content.

    Raises:
        RequestError: the type is not `application/octet-stream` (415), which no page sends across sites without asking
            first; the name is missing (400); the file is empty (400), too large (413) or too slow (408).
        ClientDisconnect: the client has closed the connection.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/octet-stream":
        raise RequestError("Content-Type: expected application/octet-stream", status=415, code="unsupported_media_type")
    name = unquote(request.query_params.get("name", ""), errors="replace").strip()
    if not name or "\0" in name or len(name) > 1_000:
        raise RequestError("name: expected the name of the file, of at most 1,000 characters", param="name")
    close = {"Connection": "close"}
    too_long = RequestError(f"file: expected at most {limit >> 20} MiB", status=413, code="too_large", headers=close)
    size = request.headers.get("content-length", "0")
    if size.isdigit() and int(size[:20]) > limit:
        raise too_long
    content = bytearray()
    try:
        async with asyncio.timeout(_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > limit:
                    raise too_long
    except TimeoutError:
        message = f"file: expected all of it within {_SECONDS:.0f} s"
        raise RequestError(message, status=408, code="timeout", headers=close) from None
    if not content:
        raise RequestError("file: expected a document, got an empty file", param="file")
    return name, bytes(content)
