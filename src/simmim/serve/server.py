"""Runs the application with uvicorn: sockets, connection timeouts, logging, and an immediate shutdown."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, TextIO

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from simmim.errors import ConfigError
from simmim.serve.engine import Engine
from simmim.terminal import terminal_safe

__all__ = ["Server", "is_loopback", "open_sockets"]

_MAX_CONNECTIONS = 512
_HEAD_SECONDS = 15
_SHUTDOWN_SECONDS = 3


class Server(uvicorn.Server):
    """Serves an application until a signal; running requests are then cancelled.

    Args:
        app: the application.
        engine: runs the requests.
        started: called with the port as soon as the server accepts requests.
    """

    def __init__(self, app: ASGIApp, engine: Engine, started: Callable[[int], None] = lambda port: None) -> None:
        config = uvicorn.Config(
            app,
            http=_PatientProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        super().__init__(config)
        _set_up_logs()
        self._engine, self._on_started = engine, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        if sockets:
            self._on_started(sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cancel running requests, so that each gets its answer at once, and stop."""
        self._engine.stop()
        await super().shutdown(sockets)
        await asyncio.to_thread(self._engine.join, 1)


class _PatientProtocol(H11Protocol):
    """Closes a connection that does not send the head of a request in time."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the timer."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Start the timer if the connection is idle."""
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        if self._head is not None:
            self._head.cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head is None and self._is_idle():
            self._head = self.loop.call_later(_HEAD_SECONDS, self._close_if_idle, self.cycle)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self, cycle: Any) -> None:
        self._head = None
        if self.cycle is cycle and self._is_idle():
            self.transport.close()
        else:
            self._await_head()


class _SafeFormatter(logging.Formatter):
    """Removes control characters from log lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return terminal_safe(super().format(record))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record."""
        self.stream = sys.stderr
        super().emit(record)


def _set_up_logs() -> None:
    """Send the server's log and uvicorn's warnings to standard error.

    `logging.config` would close all handlers of the process, some of which close a shared standard error.
    """
    handler = _StderrHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("simmim.serve", logging.INFO), ("uvicorn", logging.WARNING)):
        target = logging.getLogger(name)
        target.handlers, target.propagate = [handler], False
        target.setLevel(level)


def is_loopback(host: str) -> bool:
    """Tell whether a host is reachable from this machine only.

    Raises:
        ConfigError: the host does not exist.
    """
    return all(ipaddress.ip_address(address[0].partition("%")[0]).is_loopback for _, address in _addresses(host, 0))


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listen on a port of all addresses of a host.

    Raises:
        ConfigError: the host does not exist, or the port is in use.
    """
    sockets: list[socket.socket] = []
    for family, address in _addresses(host, port):
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind((address[0], sockets[0].getsockname()[1] if sockets else port, *address[2:]))
            opened.listen(2048)
        except OSError as error:
            opened.close()
            if sockets and error.errno == errno.EADDRNOTAVAIL:
                continue  # a name with IPv4 and IPv6 addresses, of which this machine has one
            for other in sockets:
                other.close()
            raise ConfigError(
                f"--host, --port: cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; name another"
            ) from error
        sockets.append(opened)
    return sockets


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host: expected a name or address of this machine, got {host!r}: {error}") from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))
