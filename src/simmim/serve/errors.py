"""The errors that are sent to a client, in the form that OpenAI clients read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["RequestError", "busy", "error_body"]


class RequestError(Exception):
    """A request was refused or has failed.

    Args:
        message: what is wrong, and what to do.
        status: the HTTP status.
        param: the wrong parameter, such as ``messages[0].content``.
        code: machine-readable kind of the error.
        headers: further headers of the response.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """Return the error in the form of OpenAI's interface."""
        return error_body(self.message, self.status, self.param, self.code)


def error_body(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return an error in the form of OpenAI's interface."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def busy(message: str, retry_after: int) -> RequestError:
    """Return the error of a request that the server cannot take at present."""
    return RequestError(message, status=503, code="server_busy", headers={"Retry-After": str(retry_after)})
