"""Runs the application with uvicorn: sockets, time limits of connections, log, and an end that does not wait."""

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

logger = logging.getLogger("simmim.serve")

_MAX_CONNECTIONS = 512
_HEAD_SECONDS = 15
_SHUTDOWN_SECONDS = 3


class Server(uvicorn.Server):
    """Serves an application until a signal ends it, which gives up what is being computed.

    Args:
        app: the application.
        engine: what computes for it.
        started: called with the port as soon as requests are taken.
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
        self._engine, self._tell_started = engine, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if sockets:
            self._tell_started(sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give up what is being computed, so that every open request gets its answer at once, and end."""
        self._engine.stop()
        await super().shutdown(sockets)
        await asyncio.to_thread(self._engine.join, 1)


class _PatientProtocol(H11Protocol):
    """Closes a connection that does not send the head of a request in time."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Go on."""
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._head is not None:
            self._head.cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head is None and self._is_idle():
            self._head = self.loop.call_later(_HEAD_SECONDS, self._give_up, self.cycle)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _give_up(self, before: Any) -> None:
        self._head = None
        if self.cycle is before and self._is_idle():
            self.transport.close()
        else:
            self._await_head()


class _SafeFormatter(logging.Formatter):
    """Takes out of log lines whatever would steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line."""
        return terminal_safe(super().format(record))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self.stream = sys.stderr
        super().emit(record)


def _set_up_logs() -> None:
    """Have the server's log and uvicorn's warnings on standard error.

    By hand: `logging.config` closes every handler that the process has, and some close a standard error that is not
    theirs.
    """
    handler = _StderrHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("simmim.serve", logging.INFO), ("uvicorn", logging.WARNING)):
        chosen = logging.getLogger(name)
        chosen.handlers, chosen.propagate = [handler], False
        chosen.setLevel(level)


def is_loopback(host: str) -> bool:
    """Tell whether a host is reached from this machine alone.

    Args:
        host: a name or an address.

    Raises:
        ConfigError: there is no such host.
    """
    return all(ipaddress.ip_address(address[0].partition("%")[0]).is_loopback for _, address in _addresses(host, 0))


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Take a port on all addresses of a host.

    Args:
        host: a name or an address.
        port: 0 for one that is free.

    Raises:
        ConfigError: there is no such host, or the port is taken.
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
                continue  # a name of which this machine has only the address of one kind
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
