"""HTTP pushes from vendors: answered with the vendor's success only once what they bring is on disk.

`POST /push/<backend>/<secret>/<kind>`, with or without a trailing slash, whatever the Content-Type. Anything not
exactly right about backend, secret or sender is the same 404, and nothing is stored.

Whoever connects has to get to the point: a connection that does not is closed after `PATIENCE`, and sooner where the
next one needs its room, so that thousands of them hold up nobody.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import resource
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from aiohttp import ClientError, web
from aiohttp.http import HttpProcessingError

from bridge import wire
from bridge.backend import Backend, Push
from bridge.errors import BackendError, BadReply, OutboxError, OutboxFull
from bridge.hub import Hub

if TYPE_CHECKING:
    from bridge.config import Push as PushConfig

_LOG = logging.getLogger(__name__)
_HTTP_LOG = logging.getLogger("bridge.http")

MAX_BODY = 1024 * 1024
MAX_BUSY = 1_000
"""Pushes that may be under way at once; more get 503 and come again."""
RETRY_AFTER = "30"
PATIENCE = 30.0
"""Seconds that a sender has for the head of a request, for its body, and between two requests."""
MAX_CONNECTIONS = 1_000
"""Connections to a listener above which the oldest makes room; fewer where the process may not open enough files."""
_KEPT = 64 * 1024
"""Bytes of a push that cannot be read: the outbox keeps no more, and to look for secrets in more takes its time."""
_LINGER = 2.0
_BACKLOG = 512
_BROKEN = (ClientError, HttpProcessingError, ConnectionError, web.RequestPayloadError)
"""What aiohttp raises for a sender that goes away or sends what is no HTTP."""


class Ingress:
    """Accepts pushes for the backends that have a secret."""

    def __init__(
        self,
        hub: Hub,
        backends: Mapping[str, Backend],
        configured: Mapping[str, PushConfig],
        patience: float = PATIENCE,
    ) -> None:
        self._hub = hub
        self._patience = patience
        self._configured = configured
        self._pushes = {
            (name, push.kind): push
            for name, backend in backends.items()
            if name in configured
            for push in backend.pushes
        }
        self.counted: Counter[str] = Counter()
        """Pushes by what became of them: accepted, refused (404), malformed, too_large, broken, busy, full, failed."""
        self._busy = 0
        self._trouble: dict[tuple[str, str], str] = {}
        """What is wrong with the pushes of a backend and kind, once it has been said."""

    def application(self) -> web.Application:
        """The web application for the `push` listener."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/push/{backend}/{secret}/{kind}", self._handle)
        app.router.add_route("*", "/push/{backend}/{secret}/{kind}/", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        push = self._admit(request)
        if push is None:
            self.counted["refused"] += 1
            raise web.HTTPNotFound
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        if self._busy >= MAX_BUSY:
            self.counted["busy"] += 1
            return _answer(503, push.failure("too many at once"))
        self._busy += 1
        try:
            body = await self._read(request)
            return await self.take(request.match_info["backend"], push, body)
        finally:
            self._busy -= 1

    async def _read(self, request: web.Request) -> bytes:
        """The body. Raises HTTPException for what is too large, too slow, or breaks off."""
        try:
            async with asyncio.timeout(self._patience):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            self.counted["too_large"] += 1
            raise
        except TimeoutError as error:
            self.counted["broken"] += 1
            raise web.HTTPRequestTimeout from error
        except _BROKEN as error:
            self.counted["broken"] += 1
            raise web.HTTPBadRequest(text="400: the body breaks off or is not encoded as it says") from error

    async def take(self, backend: str, push: Push, body: bytes) -> web.Response:
        """Take in one push and give its answer."""
        try:
            await self._hub.accept(push.accept(body))
        except BadReply as error:
            return await self._keep_unread(backend, push, body, error)
        except OutboxFull as error:
            self.counted["full"] += 1
            self._say(backend, push, "full", f"pushes are refused: {error}")
            return _answer(503, push.failure(str(error)))
        except OutboxError as error:
            self.counted["failed"] += 1
            self._say(backend, push, "failed", f"pushes cannot be written to disk and are refused: {error}")
            return _answer(503, push.failure("not stored"))
        self.counted["accepted"] += 1
        if self._trouble.pop((backend, push.kind), None) is not None:
            _LOG.info("%s: pushes (%s) are taken in again", backend, push.kind)
        return _answer(200, push.success)

    def _say(self, backend: str, push: Push, trouble: str, words: str) -> None:
        """Say what is wrong once, until a push of this kind is taken in again."""
        if self._trouble.get((backend, push.kind)) != trouble:
            self._trouble[backend, push.kind] = trouble
            _LOG.warning("%s: %s", backend, words)

    async def retry(self, backend: str, kind: str, body: bytes) -> None:
        """Take in a dead letter once more. Raises BackendError, OutboxError."""
        push = self._pushes.get((backend, kind))
        if push is None:
            message = f"{backend} takes no pushes of kind {kind}"
            raise BadReply(message, code="no_such_push")
        await self._hub.accept(push.accept(body))

    def _admit(self, request: web.Request) -> Push | None:
        """The push this is, if the backend takes it, the secret is right and the sender may."""
        name = request.match_info["backend"]
        configured = self._configured.get(name)
        secret = configured.secret.reveal() if configured else "\x00"
        right = hmac.compare_digest(secret.encode(), request.match_info["secret"].encode("utf-8", "replace"))
        if configured is None or not right or not _allowed(request.remote, configured.allow):
            return None
        return self._pushes.get((name, request.match_info["kind"]))

    async def _keep_unread(self, backend: str, push: Push, body: bytes, error: BackendError) -> web.Response:
        """A push that cannot be read is kept without its secrets, counted, and answered with what is wrong."""
        self.counted["malformed"] += 1
        kept = wire.redact(body[:_KEPT].decode("utf-8", "replace")).encode()
        try:
            number = await self._hub.outbox.bury(backend, push.kind, str(error), kept)
        except OutboxError as fault:
            self._say(backend, push, "failed", f"a push could neither be read nor kept: {fault}")
            return _answer(503, push.failure("not stored"))
        words = f"a push ({push.kind}) cannot be read, kept as dead letter {number}, as are those like it: {error}"
        self._say(backend, push, "malformed", words)
        return _answer(400, push.failure(str(error)))


@lru_cache(maxsize=1024)
def _allowed(remote: str | None, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ip_address(remote or "")
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not networks or any(address in network for network in networks)


def _answer(status: int, body: bytes) -> web.Response:
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else None
    return web.Response(status=status, body=body, content_type="application/json", charset="utf-8", headers=headers)


@dataclass(frozen=True, slots=True)
class Listener:
    """An application that is being served."""

    _runner: web.AppRunner
    _server: asyncio.Server

    @property
    def addresses(self) -> list[Any]:
        """Where it listens: host and port first."""
        return [socket.getsockname() for socket in self._server.sockets]

    async def cleanup(self) -> None:
        """Take nothing more in, let what is under way end, and close."""
        self._server.close()
        await self._runner.cleanup()


async def listen(
    app: web.Application, host: str, port: int, *, patience: float = PATIENCE, room: int = MAX_CONNECTIONS
) -> Listener:
    """Serve an application until `cleanup`. Raises OSError.

    A connection is closed when it has asked nothing for `patience` seconds; above `room` connections the oldest is
    closed once it has its answer, above twice as many at once.
    """
    _HTTP_LOG.addFilter(_is_worth_a_word)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=1.0,
        keepalive_timeout=patience,
        lingering_time=_LINGER,
        logger=_HTTP_LOG,
    )
    await runner.setup()
    try:
        room = min(room, _room())
        door = partial(_enter, runner, room)
        # The loop takes in as many at once, before one of them can be shown out.
        server = await asyncio.get_running_loop().create_server(door, host, port, backlog=min(_BACKLOG, room))
    except BaseException:
        await asyncio.shield(runner.cleanup())
        raise
    return Listener(runner, server)


def _enter(runner: web.AppRunner, room: int) -> asyncio.Protocol:
    """Take a connection in; where that makes too many, the oldest go."""
    assert runner.server is not None  # noqa: S101 - it has been set up
    inside = runner.server.connections
    for oldest in inside[: max(0, len(inside) - 2 * room + 1)]:
        oldest.force_close()
    for oldest in inside[: max(0, len(inside) - room + 1)]:
        oldest.close()
    return runner.server()


def _room() -> int:
    """How many connections leave enough of the files that a process may open to the other listener and the vendors."""
    return max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)


def _is_worth_a_word(record: logging.LogRecord) -> bool:
    """Whether what goes wrong while serving is ours; anybody can connect and send what is no HTTP, or go away."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, _BROKEN)
