"""HTTP pushes from vendors: answered with the vendor's success only once what they bring is on disk.

`POST /push/<backend>/<secret>/<kind>`, a slash more before or after the kind, whatever the Content-Type. Anything not
exactly right about backend, secret or sender is the same 404, and nothing is stored.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from aiohttp import web

from fleet2mqtt import redaction
from fleet2mqtt.config.models import BackendConfig, PushConfig
from fleet2mqtt.errors import BackendError, InvalidResponse, OutboxError, OutboxFull
from fleet2mqtt.hub import Hub
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.push.http_server import BROKEN, PATIENCE
from fleet2mqtt.sdk.api import Backend, Push

_LOG = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024
MAX_BUSY = 1_000
"""Pushes that may be under way at once; more get 503 and come again."""
RETRY_AFTER = "30"
_KEPT = 64 * 1024
"""Bytes of a push that cannot be read: the outbox keeps no more, and to look for secrets in more takes its time."""

_FIELDS = (
    rb"(?:(?:host|user-agent|accept|accept-encoding|accept-language|content-type):[\t -~\x80-\xff]{0,1000}\r\n"
    rb"|connection: ?keep-alive\r\n){0,16}"
)
_PLAIN = re.compile(
    rb"POST /push/(?P<backend>[a-z0-9_-]{1,64})/(?P<secret>[\w.~-]{1,256})/(?P<kind>[a-z_]{1,32})/? HTTP/1\.1\r\n"
    rb"(?i:" + _FIELDS + rb"content-length: ?(?P<length>\d{1,6})\r\n" + _FIELDS + rb")\r\n"
)
"""The head of a push that has nothing special about it: none of the fields that change what the body is."""


class PushReceiver:
    """Accepts pushes for the backends that have a secret."""

    def __init__(
        self,
        hub: Hub,
        outbox: Outbox,
        backends: Mapping[str, Backend],
        configs: Mapping[str, BackendConfig],
        patience: float = PATIENCE,
    ) -> None:
        """`backends` run now, `configs` are theirs; `outbox` keeps dead letters."""
        self._hub = hub
        self._outbox = outbox
        self._backends = backends
        self._configs = configs
        self._patience = patience
        self.counted: Counter[str] = Counter()
        """Pushes by what became of them: accepted, refused (404), malformed, too_large, broken, busy, full, failed;
        `served` are calls that a platform responded to."""
        self._busy = 0
        self._trouble: dict[tuple[str, str], str] = {}
        """What is wrong with the pushes of a backend and kind, once it has been said."""

    def application(self) -> web.Application:
        """The web application for the `push` listener."""
        app = web.Application(client_max_size=MAX_BODY)
        # Two slashes: the address was entered with one at its end, and the vendor's system adds its own.
        for tail in ("/{kind}", "/{kind}/", "//{kind}"):
            app.router.add_route("*", "/push/{backend}/{secret}" + tail, self._handle)
        for tail in ("", "/"):
            app.router.add_route("*", "/{prefix}/{backend}/{secret}/{name}" + tail, self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        """Respond to a call that a platform serves (`sdk.api.ServedCall`)."""
        prefix, backend, secret, name = (request.match_info[part] for part in ("prefix", "backend", "secret", "name"))
        running = self._backends.get(backend)
        served = [call for call in (running.served if running else ()) if (call.prefix, call.name) == (prefix, name)]
        if not self._is_authorized(request.remote, backend, secret.encode("utf-8", "replace")) or not served:
            self.counted["refused"] += 1
            raise web.HTTPNotFound
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        body = await self._read(request)
        self.counted["served"] += 1
        return _response(200, served[0].respond(body, request.headers))

    async def _handle(self, request: web.Request) -> web.Response:
        name, secret, kind = (request.match_info[part] for part in ("backend", "secret", "kind"))
        push = self._authorize(request.remote, name, secret.encode("utf-8", "replace"), kind)
        if push is None:
            self.counted["refused"] += 1
            raise web.HTTPNotFound
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        if self._busy >= MAX_BUSY:
            self.counted["busy"] += 1
            return _response(503, push.failure("too many at once"))
        self._busy += 1
        try:
            return _response(*await self._take(name, push, await self._read(request)))
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
        except BROKEN as error:
            self.counted["broken"] += 1
            raise web.HTTPBadRequest(text="400: the body breaks off or is not encoded as it says") from error

    def match(self, data: bytes, remote: str) -> Coroutine[Any, Any, bytes] | None:
        """The work that a plain push makes, if these bytes are one and no more; it ends in the whole answer."""
        head = _PLAIN.match(data)
        if head is None or len(data) - head.end() != int(head["length"]) or self._busy >= MAX_BUSY:
            return None
        name, secret, kind = head["backend"].decode(), head["secret"], head["kind"].decode()
        push = self._authorize(remote, name, secret, kind)
        return None if push is None else self._answer_plainly(name, push, data[head.end() :])

    async def _answer_plainly(self, backend: str, push: Push, body: bytes) -> bytes:
        self._busy += 1
        try:
            return _plain(*await self._take(backend, push, body))
        finally:
            self._busy -= 1

    async def _take(self, backend: str, push: Push, body: bytes) -> tuple[int, bytes]:
        """Take in one push and give its answer, status and body."""
        try:
            await self._hub.accept(push.accept(body))
        except InvalidResponse as error:
            return await self._keep_unread(backend, push, body, error)
        except OutboxFull as error:
            self.counted["full"] += 1
            self._say(backend, push, "full", f"pushes are refused: {error}")
            return (503, push.failure(str(error)))
        except OutboxError as error:
            self.counted["failed"] += 1
            self._say(backend, push, "failed", f"pushes cannot be written to disk and are refused: {error}")
            return (503, push.failure("not stored"))
        self.counted["accepted"] += 1
        if self._trouble.pop((backend, push.kind), None) is not None:
            _LOG.info("%s: pushes (%s) are taken in again", backend, push.kind)
        return (200, push.success)

    def _say(self, backend: str, push: Push, trouble: str, words: str) -> None:
        """Say what is wrong once, until a push of this kind is taken in again."""
        if self._trouble.get((backend, push.kind)) != trouble:
            self._trouble[backend, push.kind] = trouble
            _LOG.warning("%s: %s", backend, words)

    async def retry(self, backend: str, kind: str, body: bytes) -> None:
        """Take in a dead letter once more. Raises BackendError, OutboxError."""
        push = self._find(backend, kind)
        if push is None:
            message = f"{backend} takes no pushes of kind {kind}"
            raise InvalidResponse(message, code="no_such_push")
        await self._hub.accept(push.accept(body))

    def _authorize(self, remote: str | None, backend: str, secret: bytes, kind: str) -> Push | None:
        """The push this is, if the backend takes it, the secret is right and the sender may."""
        return self._find(backend, kind) if self._is_authorized(remote, backend, secret) else None

    def _is_authorized(self, remote: str | None, backend: str, secret: bytes) -> bool:
        """Return True if the backend accepts requests with this secret from this sender."""
        configured = self._push_config(backend)
        right = hmac.compare_digest((configured.secret.reveal() if configured else "\x00").encode(), secret)
        return configured is not None and right and _allowed(remote, configured.allow)

    def _find(self, backend: str, kind: str) -> Push | None:
        found = self._backends.get(backend)
        if found is None or self._push_config(backend) is None:
            return None
        return next((push for push in found.pushes if push.kind == kind), None)

    def _push_config(self, backend: str) -> PushConfig | None:
        config = self._configs.get(backend)
        return config.push if config else None

    async def _keep_unread(self, backend: str, push: Push, body: bytes, error: BackendError) -> tuple[int, bytes]:
        """A push that cannot be read is kept without its secrets, counted, and answered with what is wrong."""
        self.counted["malformed"] += 1
        kept = redaction.redact(body[:_KEPT].decode("utf-8", "replace")).encode()
        try:
            number = await self._outbox.add_dead_letter(backend, push.kind, str(error), kept)
        except OutboxError as fault:
            self._say(backend, push, "failed", f"a push could neither be read nor kept: {fault}")
            return (503, push.failure("not stored"))
        words = f"a push ({push.kind}) cannot be read, kept as dead letter {number}, as are those like it: {error}"
        self._say(backend, push, "malformed", words)
        return (400, push.failure(str(error)))


@lru_cache(maxsize=1024)
def _allowed(remote: str | None, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ip_address(remote or "")
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not networks or any(address in network for network in networks)


def _response(status: int, body: bytes) -> web.Response:
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else None
    return web.Response(status=status, body=body, content_type="application/json", charset="utf-8", headers=headers)


def _plain(status: int, body: bytes) -> bytes:
    """The same as `_response`, on the wire."""
    again = f"Retry-After: {RETRY_AFTER}\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{again}Content-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nDate: {_date(int(time.time()))}\r\n\r\n"
    )
    return head.encode("ascii") + body


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
