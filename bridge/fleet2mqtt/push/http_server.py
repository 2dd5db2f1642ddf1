"""HTTP server: listens, bounds the connections and their idle time, and serves an application.

aiohttp responds to every request. Only one that a `Shortcut` matches, a whole request in one piece, is responded to
without it (docs/decisions/0011-plain-pushes-pass-aiohttp-by.md); a connection that sends anything else is aiohttp's
from then on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable, Coroutine, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, web
from aiohttp.http import HttpProcessingError

from fleet2mqtt.config.models import ListenConfig
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.network import authority

_LOG = logging.getLogger(__name__)

IDLE_TIMEOUT = 30.0
"""Seconds that a client has for the head of a request, for its body, and between two requests."""
MAX_CONNECTIONS = 1_000
"""Connections above which the oldest is closed; fewer where the process may not open enough files."""
CLIENT_ERRORS = (ClientError, HttpProcessingError, ConnectionError, web.RequestPayloadError)
"""aiohttp's exceptions for a client that disconnects or sends what is not HTTP."""
_SERVER_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LINGER = 2.0
_LAST_RESPONSES = 1.0
_BACKLOG = 512
_ANY_IPV6 = "::"
_MAX_REPORTED = 100


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Responses without aiohttp. `match(data, remote)` returns the work that ends in a whole response, or None.

    The work is done in `group`.
    """

    match: Callable[[bytes, str], Coroutine[Any, Any, bytes] | None]
    group: asyncio.TaskGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """The open connections of one server, oldest first."""

    runner: web.AppRunner
    shortcut: Shortcut | None
    idle_timeout: float
    max_connections: int
    connections: dict[_Connection, None] = field(default_factory=dict)

    def add(self) -> asyncio.Protocol:
        """Return the protocol of a new connection; if there are too many, close the oldest."""
        connections = tuple(self.connections)
        for oldest in connections[: max(0, len(connections) - 2 * self.max_connections + 1)]:
            oldest.force_close()
        for oldest in connections[: max(0, len(connections) - self.max_connections + 1)]:
            oldest.close()
        return _Connection(self)


class _Connection(asyncio.Protocol):
    """One client's connection: the shortcut's as long as it matches each request, then aiohttp's."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._handler: web.RequestHandler | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = b""
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP has no other
        self._transport = transport
        self._pool.connections[self] = None
        if self._pool.shortcut is None:
            self._hand_over()
            return
        self._remote = str((transport.get_extra_info("peername") or ("",))[0])
        self._loop = asyncio.get_running_loop()
        self._active_at = self._loop.time()
        self._timer = self._loop.call_later(self._pool.idle_timeout, self._check_idle)

    def data_received(self, data: bytes) -> None:
        if self._handler is not None:
            self._handler.data_received(data)
        elif self._task is not None:
            self._early += data
            self._transport.pause_reading()  # it has not waited for its response
        else:
            self._receive(data)

    def eof_received(self) -> None:
        if self._handler is not None:
            self._handler.eof_received()

    def pause_writing(self) -> None:
        if self._handler is not None:
            self._handler.pause_writing()
        else:
            self._transport.abort()  # it sends requests and reads no response

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.connections.pop(self, None)
        if self._handler is not None:
            self._handler.connection_lost(exc)
        else:
            self._timer.cancel()

    def close(self) -> None:
        """Close it after the response in progress."""
        self._closing = True
        if self._handler is not None:
            self._handler.close()
        elif self._task is None:
            self._transport.close()

    def force_close(self) -> None:
        """Close it now."""
        if self._handler is not None:
            self._handler.force_close()
        self._transport.close()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Return the task of the shortcut's response in progress."""
        return self._task

    def _receive(self, data: bytes) -> None:
        shortcut = self._pool.shortcut
        work = shortcut.match(data, self._remote) if shortcut else None
        if work is None or shortcut is None:
            self._timer.cancel()
            self._hand_over()
            self.data_received(data)
        else:
            self._task = shortcut.group.create_task(self._respond(work), name="push")

    async def _respond(self, work: Coroutine[Any, Any, bytes]) -> None:
        try:
            response = await work
        except Exception:  # noqa: BLE001 - as in aiohttp one client's request does not end the service of all
            _LOG.exception("an HTTP request cannot be responded to")
            response, self._closing = _SERVER_ERROR, True
        self._task = None
        self._active_at = self._loop.time()
        if self._transport.is_closing():
            return
        self._transport.write(response)
        if self._closing:
            self._transport.close()
        elif self._early:
            early, self._early = self._early, b""
            self._transport.resume_reading()
            self._receive(early)

    def _hand_over(self) -> None:
        assert self._pool.runner.server is not None  # noqa: S101 - it has been set up
        self._handler = self._pool.runner.server()
        self._handler.connection_made(self._transport)

    def _check_idle(self) -> None:
        """Close a connection that was idle for too long. One timer that repeats costs less than one a request."""
        timeout = self._pool.idle_timeout
        left = timeout if self._task is not None else self._active_at + timeout - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_idle)
        else:
            self._transport.close()


@dataclass(frozen=True, slots=True)
class HttpServer:
    """An application that is being served."""

    _pool: ConnectionPool
    _server: asyncio.Server

    @property
    def addresses(self) -> list[Any]:
        """Socket addresses that it listens on: host and port first."""
        return [listening.getsockname() for listening in self._server.sockets]

    async def cleanup(self) -> None:
        """Accept no more connections, finish the responses in progress, and close."""
        self._server.close()
        connections = tuple(self._pool.connections)
        for connection in connections:
            connection.close()
        if tasks := [connection.task for connection in connections if connection.task is not None]:
            await asyncio.wait(tasks, timeout=_LAST_RESPONSES)
        await self._pool.runner.cleanup()
        for connection in connections:
            connection.force_close()


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's log of one server, without clients that disconnect or send what is not HTTP: anybody can connect.

    A request without a Host header is reported once per message, for it comes from an old HTTP client that means it.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})
        self._reported: set[str] = set()

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log unless the cause is the client's."""
        error = kwargs.get("exc_info")
        error = error[1] if isinstance(error, tuple) else error
        if not isinstance(error, CLIENT_ERRORS):
            super().log(level, msg, *args, **kwargs)
        elif isinstance(error, HttpProcessingError) and "'Host'" in error.message:
            text = str(msg) % args if args else str(msg)
            if text not in self._reported and len(self._reported) < _MAX_REPORTED:
                self._reported.add(text)
                self.logger.warning("%s: HTTP/1.1 without a Host header is refused (400)", text)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return the message as it is."""
        return msg, kwargs


async def start_http_server(  # noqa: PLR0913 - an address, and the bounds of its connections
    app: web.Application,
    host: str,
    port: int,
    *,
    shortcut: Shortcut | None = None,
    idle_timeout: float = IDLE_TIMEOUT,
    max_connections: int = MAX_CONNECTIONS,
) -> HttpServer:
    """Serve an application until `cleanup`; `::` serves IPv4, too. Raises OSError.

    A connection is closed after `idle_timeout` seconds without a request; above `max_connections` the oldest is closed
    after its response, above twice as many at once.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_LAST_RESPONSES,
        keepalive_timeout=idle_timeout,
        lingering_time=_LINGER,
        logger=_ServerLog(_LOG),
    )
    await runner.setup()
    try:
        pool = ConnectionPool(
            runner=runner,
            shortcut=shortcut,
            idle_timeout=idle_timeout,
            max_connections=min(max_connections, _file_limit()),
        )
        # The event loop accepts as many at once, before one of them can be closed.
        backlog = min(_BACKLOG, pool.max_connections)
        loop = asyncio.get_running_loop()
        if host == _ANY_IPV6 and socket.has_dualstack_ipv6():
            listening = socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
            server = await loop.create_server(pool.add, sock=listening, backlog=backlog)
        else:
            server = await loop.create_server(pool.add, host, port, backlog=backlog)
    except BaseException:
        await asyncio.shield(runner.cleanup())
        raise
    return HttpServer(pool, server)


class ReplaceableServer:
    """The HTTP server of one option, at the address of the configuration that applies now."""

    def __init__(
        self, option: str, application: Callable[[], web.Application], shortcut: Shortcut | None = None
    ) -> None:
        """`application` makes the application that is served; `option` names the server in errors and in the log."""
        self._option = option
        self._application = application
        self._shortcut = shortcut
        self._server: HttpServer | None = None
        self._address: tuple[str, int] | None = None

    async def start(self, where: ListenConfig) -> None:
        """Listen at an address, and no longer at another one. Raises ConfigError: then everything is as before."""
        before, server = self._address, self._server
        if before == (where.host, where.port):
            return
        if before is None or server is None:
            await self._listen(where.host, where.port)
        elif before[1] != where.port or not where.port:
            await self._listen(where.host, where.port)
            await server.cleanup()
        else:  # one port cannot be listened on twice
            await server.cleanup()
            try:
                await self._listen(where.host, where.port)
            except ConfigError:
                await self._listen(*before)
                raise

    async def stop(self) -> None:
        """Accept no more connections and close those that are open."""
        server, self._server, self._address = self._server, None, None
        if server is not None:
            await server.cleanup()

    async def _listen(self, host: str, port: int) -> None:
        try:
            self._server = await start_http_server(self._application(), host, port, shortcut=self._shortcut)
        except OSError as error:
            remedy = f"choose another {self._option}.port or {self._option}.host"
            raise ConfigError([f"{self._option}: {cannot_listen(error, host, port)}; {remedy}"]) from error
        self._address = (host, port)
        _LOG.info("%s listens on %s", self._option, authority(*self._server.addresses[0][:2]))


def cannot_listen(error: OSError, host: str, port: int) -> str:
    """Return why there is no server at an address, without asyncio's text, which has the address twice."""
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error.strerror
    return f"cannot listen on {authority(host, port)}: {reason}"


def _file_limit() -> int:
    """Return how many connections leave enough of the process's open files to the other server and the vendors."""
    return max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
