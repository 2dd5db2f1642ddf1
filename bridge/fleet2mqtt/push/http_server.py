"""HTTP server: listens, bounds the connections and their idle time, and serves an application by aiohttp."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

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
_LINGER = 2.0
_CHECK_INTERVAL = 0.1
_LAST_RESPONSES = 1.0
_BACKLOG = 512
_ANY_IPV6 = "::"
_MAX_REPORTED = 100


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Application = web.Application | Handler
"""An application with routes, or a function that responds to every request itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """An application that is being served."""

    runner: web.BaseRunner
    listening: asyncio.Server

    @property
    def addresses(self) -> list[Any]:
        """Socket addresses that it listens on: host and port first."""
        return [listening.getsockname() for listening in self.listening.sockets]

    async def cleanup(self) -> None:
        """Accept no more connections, finish the responses in progress, and close."""
        self.listening.close()
        await self.runner.cleanup()


class _ConnectionLimit:
    """Closes the oldest connections while there are too many: those with a request after its response."""

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._busy: set[web.RequestHandler] = set()
        self._timer: asyncio.TimerHandle | None = None

    def accept(self, server: web.Server) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        connections = server.connections
        for oldest in connections[: max(0, len(connections) - 2 * self._max_connections + 1)]:
            oldest.force_close()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_CHECK_INTERVAL, self._close_oldest, server)
        return server()

    async def respond(self, handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
        """Call a handler, and note that its connection is busy."""
        connection = request.protocol
        self._busy.add(connection)
        try:
            return await handler(request)
        finally:
            self._busy.discard(connection)

    def middleware(self) -> Any:
        """Return the middleware that notes the same of an application's requests."""

        @web.middleware
        async def note(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
            return await self.respond(cast("Handler", handler), request)

        return note

    def _close_oldest(self, server: web.Server) -> None:
        self._timer = None
        connections = server.connections
        for oldest in connections[: max(0, len(connections) - self._max_connections)]:
            if oldest in self._busy:
                oldest.close()
            else:
                oldest.force_close()  # `close` ends its task and leaves it open


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


async def start_http_server(
    app: Application,
    host: str,
    port: int,
    *,
    idle_timeout: float = IDLE_TIMEOUT,
    max_connections: int = MAX_CONNECTIONS,
) -> HttpServer:
    """Serve an application until `cleanup`; `::` serves IPv4, too. Raises OSError.

    A connection is closed after `idle_timeout` seconds without a request; above `max_connections` the oldest is closed
    after its response, above twice as many at once.
    """
    options: dict[str, Any] = {
        "access_log": None,
        "keepalive_timeout": idle_timeout,
        "lingering_time": _LINGER,
        "logger": _ServerLog(_LOG),
    }
    most = min(max_connections, _file_limit())
    limit = _ConnectionLimit(most)
    runner: web.BaseRunner
    if isinstance(app, web.Application):
        app.middlewares.append(limit.middleware())
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_LAST_RESPONSES, **options)
    else:
        handler = web.Server(partial(limit.respond, app), **options)
        runner = web.ServerRunner(handler, handle_signals=False, shutdown_timeout=_LAST_RESPONSES)
    await runner.setup()
    try:
        server = runner.server
        assert server is not None  # noqa: S101 - it has been set up
        accept = partial(limit.accept, server)
        # The event loop accepts as many at once, before one of them can be closed.
        backlog = min(_BACKLOG, most)
        loop = asyncio.get_running_loop()
        if host == _ANY_IPV6 and socket.has_dualstack_ipv6():
            sock = socket.create_server((host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
            listening = await loop.create_server(accept, sock=sock, backlog=backlog)
        else:
            listening = await loop.create_server(accept, host, port, backlog=backlog)
    except BaseException:
        await asyncio.shield(runner.cleanup())
        raise
    return HttpServer(runner=runner, listening=listening)


class ReplaceableServer:
    """The HTTP server of one option, at the address of the configuration that applies now."""

    def __init__(self, option: str, application: Callable[[], Application]) -> None:
        """`application` makes the application that is served; `option` names the server in errors and in the log."""
        self._option = option
        self._application = application
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
            self._server = await start_http_server(self._application(), host, port)
        except OSError as error:
            raise _unusable(self._option, error, host, port) from error
        self._address = (host, port)
        _LOG.info("%s listens on %s", self._option, authority(*self._server.addresses[0][:2]))


async def check_address(option: str, before: ListenConfig, after: ListenConfig) -> None:
    """Try whether the server of an option can move to another port. Raises ConfigError."""
    if after.port == before.port:  # one port cannot be listened on twice
        return
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, after.host, after.port)
    except OSError as error:
        raise _unusable(option, error, after.host, after.port) from error
    server.close()
    await server.wait_closed()


def _unusable(option: str, error: OSError, host: str, port: int) -> ConfigError:
    remedy = f"choose another {option}.port or {option}.host"
    return ConfigError([f"{option}: {cannot_listen(error, host, port)}; {remedy}"])


def cannot_listen(error: OSError, host: str, port: int) -> str:
    """Return why there is no server at an address, without asyncio's text, which has the address twice."""
    reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error.strerror
    return f"cannot listen on {authority(host, port)}: {reason}"


def _file_limit() -> int:
    """Return how many connections leave enough of the process's open files to the other server and the vendors."""
    return max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
