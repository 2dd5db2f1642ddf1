"""HTTP pushes from vendors: answered with the vendor's success only once what they bring is on disk.

`POST /push/<backend>/<secret>/<kind>`, with or without a trailing slash, whatever the Content-Type. Anything not
exactly right about backend, secret or sender is the same 404, and nothing is stored.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from aiohttp import web

from bridge import wire
from bridge.backend import Backend, Push
from bridge.errors import BackendError, BadReply, OutboxError, OutboxFull
from bridge.hub import Hub

if TYPE_CHECKING:
    from bridge.config import Push as PushConfig

_LOG = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024
MAX_BUSY = 1_000
"""Pushes that may be under way at once; more get 503 and come again."""
RETRY_AFTER = "30"


class Ingress:
    """Accepts pushes for the backends that have a secret."""

    def __init__(self, hub: Hub, backends: Mapping[str, Backend], configured: Mapping[str, PushConfig]) -> None:
        self._hub = hub
        self._configured = configured
        self._pushes = {
            (name, push.kind): push
            for name, backend in backends.items()
            if name in configured
            for push in backend.pushes
        }
        self.counted: Counter[str] = Counter()
        """Pushes by what became of them: accepted, refused (404), malformed, full, failed."""
        self._busy = 0

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
            body = await request.read()
            return await self.take(request.match_info["backend"], push, body)
        finally:
            self._busy -= 1

    async def take(self, backend: str, push: Push, body: bytes) -> web.Response:
        """Take in one push and give its answer."""
        try:
            await self._hub.accept(push.accept(body))
        except BadReply as error:
            return await self._keep_unread(backend, push, body, error)
        except OutboxFull as error:
            self.counted["full"] += 1
            return _answer(503, push.failure(str(error)))
        except OutboxError as error:
            self.counted["failed"] += 1
            _LOG.error("%s: a push could not be written to disk: %s", backend, error)
            return _answer(503, push.failure("not stored"))
        self.counted["accepted"] += 1
        return _answer(200, push.success)

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
        kept = wire.redact(body.decode("utf-8", "replace")).encode()
        try:
            number = await self._hub.outbox.bury(backend, push.kind, str(error), kept)
        except OutboxError as fault:
            _LOG.error("%s: a push could neither be read nor kept: %s", backend, fault)
            return _answer(503, push.failure("not stored"))
        _LOG.warning("%s: a push (%s) cannot be read, kept as dead letter %d: %s", backend, push.kind, number, error)
        return _answer(400, push.failure(str(error)))


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


async def listen(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Serve an application; the runner's `cleanup` ends it. Raises OSError."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except BaseException:
        await asyncio.shield(runner.cleanup())
        raise
    return runner
