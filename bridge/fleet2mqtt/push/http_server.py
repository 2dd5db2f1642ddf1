"""Listening for HTTP: how many may come in, for how long they may dawdle, and what is answered without ceremony.

aiohttp answers whatever comes. Only what a `Shortcut` knows at first sight, a whole request in one piece, is answered
past it (docs/decisions/0011-plain-pushes-pass-aiohttp-by.md); a connection that brings anything else is aiohttp's from
then on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, web
from aiohttp.http import HttpProcessingError

from fleet2mqtt.config.models import ListenConfig
from fleet2mqtt.errors import ConfigError

_LOG = logging.getLogger("fleet2mqtt.http")
_LISTENING = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a sender has for the head of a request, for its body, and between two requests."""
MAX_CONNECTIONS = 1_000
"""Connections to a listener above which the oldest makes room; fewer where the process may not open enough files."""
BROKEN = (ClientError, HttpProcessingError, ConnectionError, web.RequestPayloadError)
"""What aiohttp raises for a sender that goes away or sends what is no HTTP."""
_FAULT = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LINGER = 2.0
_LAST_ANSWERS = 1.0
_BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Shortcut:
    """`recognise(data, remote)` gives the work that ends in a whole HTTP answer, or None: that is for aiohttp.

    The work is done in `group`.
    """

    match: Callable[[bytes, str], Coroutine[Any, Any, bytes] | None]
    group: asyncio.TaskGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """What the connections of one listener share; `inside` has them by age."""

    runner: web.AppRunner
    shortcut: Shortcut | None
    patience: float
    room: int
    inside: dict[_Connection, None] = field(default_factory=dict)

    def enter(self) -> asyncio.Protocol:
        """Take a connection in; where that makes too many, the oldest go."""
        inside = tuple(self.inside)
        for oldest in inside[: max(0, len(inside) - 2 * self.room + 1)]:
            oldest.force_close()
        for oldest in inside[: max(0, len(inside) - self.room + 1)]:
            oldest.close()
        return _Connection(self)


class _Connection(asyncio.Protocol):
    """One sender: the shortcut's as long as each request of its is recognised, then aiohttp's."""

    def __init__(self, house: ConnectionPool) -> None:
        self._house = house
        self._handler: web.RequestHandler | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = b""
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP has no other
        self._transport = transport
        self._house.inside[self] = None
        if self._house.shortcut is None:
            self._hand_over()
            return
        self._remote = str((transport.get_extra_info("peername") or ("",))[0])
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(self._house.patience, self._look)

    def data_received(self, data: bytes) -> None:
        if self._handler is not None:
            self._handler.data_received(data)
        elif self._task is not None:
            self._early += data
            self._transport.pause_reading()  # it has not waited for its answer
        else:
            self._receive(data)

    def eof_received(self) -> None:
        if self._handler is not None:
            self._handler.eof_received()

    def pause_writing(self) -> None:
        if self._handler is not None:
            self._handler.pause_writing()
        else:
            self._transport.abort()  # it asks and asks, and reads no answer

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.inside.pop(self, None)
        if self._handler is not None:
            self._handler.connection_lost(exc)
        else:
            self._timer.cancel()

    def close(self) -> None:
        """Close it, once what is under way has its answer."""
        self._leaving = True
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
        """What is under way by the shortcut."""
        return self._task

    def _receive(self, data: bytes) -> None:
        shortcut = self._house.shortcut
        work = shortcut.match(data, self._remote) if shortcut else None
        if work is None or shortcut is None:
            self._timer.cancel()
            self._hand_over()
            self.data_received(data)
        else:
            self._task = shortcut.group.create_task(self._answer(work), name="push")

    async def _answer(self, work: Coroutine[Any, Any, bytes]) -> None:
        try:
            answer = await work
        except Exception:  # noqa: BLE001 - as in aiohttp one sender's fault does not end the service of all
            _LOG.exception("a request cannot be answered")
            answer, self._leaving = _FAULT, True
        self._task = None
        self._heard = self._loop.time()
        if self._transport.is_closing():
            return
        self._transport.write(answer)
        if self._leaving:
            self._transport.close()
        elif self._early:
            early, self._early = self._early, b""
            self._transport.resume_reading()
            self._receive(early)

    def _hand_over(self) -> None:
        assert self._house.runner.server is not None  # noqa: S101 - it has been set up
        self._handler = self._house.runner.server()
        self._handler.connection_made(self._transport)

    def _look(self) -> None:
        """Show out who has said nothing for too long. One timer that looks again costs less than one a request."""
        patience = self._house.patience
        left = patience if self._task is not None else self._heard + patience - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._transport.close()


@dataclass(frozen=True, slots=True)
class HttpServer:
    """An application that is being served."""

    _house: ConnectionPool
    _server: asyncio.Server

    @property
    def addresses(self) -> list[Any]:
        """Where it listens: host and port first."""
        return [socket.getsockname() for socket in self._server.sockets]

    async def cleanup(self) -> None:
        """Take nothing more in, let what is under way end, and close."""
        self._server.close()
        connections = tuple(self._house.inside)
        for connection in connections:
            connection.close()
        if tasks := [connection.task for connection in connections if connection.task is not None]:
            await asyncio.wait(tasks, timeout=_LAST_ANSWERS)
        await self._house.runner.cleanup()
        for connection in connections:
            connection.force_close()


async def start_http_server(  # noqa: PLR0913 - an address, and what bounds those who come
    app: web.Application,
    host: str,
    port: int,
    *,
    shortcut: Shortcut | None = None,
    patience: float = PATIENCE,
    room: int = MAX_CONNECTIONS,
) -> HttpServer:
    """Serve an application until `cleanup`. Raises OSError.

    A connection is closed when it has asked nothing for `patience` seconds; above `room` connections the oldest is
    closed once it has its answer, above twice as many at once.
    """
    _LOG.addFilter(_is_worth_a_word)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_LAST_ANSWERS,
        keepalive_timeout=patience,
        lingering_time=_LINGER,
        logger=_LOG,
    )
    await runner.setup()
    try:
        house = ConnectionPool(runner=runner, shortcut=shortcut, patience=patience, room=min(room, _room()))
        # The loop takes in as many at once, before one of them can be shown out.
        backlog = min(_BACKLOG, house.room)
        server = await asyncio.get_running_loop().create_server(house.enter, host, port, backlog=backlog)
    except BaseException:
        await asyncio.shield(runner.cleanup())
        raise
    return HttpServer(house, server)


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
        _LISTENING.info("%s listens on %s:%d", self._option, *self._server.addresses[0][:2])


def cannot_listen(error: OSError, host: str, port: int) -> str:
    """Return why there is no server at an address, without asyncio's words, which tell the address twice."""
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error.strerror
    return f"cannot listen on {host}:{port}: {reason}"


def _room() -> int:
    """How many connections leave enough of the files that a process may open to the other listener and the vendors."""
    return max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)


def _is_worth_a_word(record: logging.LogRecord) -> bool:
    """Whether what goes wrong while serving is ours; anybody can connect and send what is no HTTP, or go away."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, BROKEN)
