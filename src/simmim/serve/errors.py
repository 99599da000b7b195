"""The errors that a client is told about, in the form that OpenAI clients read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["RequestError", "busy", "error_body"]


class RequestError(Exception):
    """A request is refused, or cannot be finished.

    Args:
        message: what is wrong, and what to do.
        status: the HTTP status.
        param: the parameter that is wrong, such as ``messages[0].content``.
        code: what programs tell errors apart by.
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
        """Return the error as OpenAI's interface has it."""
        return error_body(self.message, self.status, self.param, self.code)


def error_body(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Return an error as OpenAI's interface has it.

    Args:
        message: what is wrong.
        status: the HTTP status, which says whose fault it is.
        param: the parameter that is wrong.
        code: what programs tell errors apart by.
    """
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def busy(message: str, retry_after: int) -> RequestError:
    """Return the error of a request that there is no place for at present.

    Args:
        message: what is wrong.
        retry_after: seconds after which it is worth another try.
    """
    return RequestError(message, status=503, code="server_busy", headers={"Retry-After": str(retry_after)})
