"""Push receiver: a vendor's push gets the vendor's success only once its alarms are on disk.

`POST /push/<backend>/<secret>/<kind>`, with a slash more before or after the kind, with any Content-Type. Anything else
about backend, secret or sender gets the same 404, and nothing is stored.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Protocol
from urllib.parse import unquote

from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict

from fleet2mqtt import redaction
from fleet2mqtt.config.models import EVERYWHERE, BackendConfig, Network, PushConfig
from fleet2mqtt.devices.model import Update
from fleet2mqtt.errors import BackendError, InvalidResponse, NotReady, OutboxError, OutboxFull
from fleet2mqtt.hub import Hub, is_of_alarms
from fleet2mqtt.push.http_server import CLIENT_ERRORS, IDLE_TIMEOUT
from fleet2mqtt.sdk.api import Backend, Push
from fleet2mqtt.tracing import span

_LOG = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024
MAX_BUSY = 1_000
"""Pushes that may be in progress at once; more get 503 and are sent again."""
RETRY_AFTER = "30"
_STORED_BODY = 64 * 1024
"""Bytes of a push that cannot be parsed: the outbox stores no more, and redacting more takes its time."""

UNAVAILABLE = 503
ProcessPush = Callable[[str, Push, bytes], Awaitable[object]]
"""Processes the push of a backend. Raises InvalidResponse, NotReady, OutboxError."""
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPush:
    """A push in the push inbox of a cluster, as its vendor sent it."""

    number: int
    backend: str
    kind: str
    body: bytes


class DeadLetterStore(Protocol):
    """Stores pushes that cannot be parsed."""

    async def add_dead_letter(
        self, backend: str, kind: str, error: str, body: bytes, stored_push: int | None = None
    ) -> int:
        """Store one, its secrets already dropped, and end it in the push inbox; return its id. Raises OutboxError."""
        ...


class PushReceiver:
    """Accepts pushes for the backends that have a secret."""

    def __init__(  # noqa: PLR0913, PLR0917 - where pushes go, and who may send them
        self,
        hub: Hub | None,
        outbox: DeadLetterStore,
        backends: Mapping[str, Backend],
        configs: Mapping[str, BackendConfig],
        trusted_proxies: tuple[Network, ...] = (),
        idle_timeout: float = IDLE_TIMEOUT,
        *,
        process: ProcessPush | None = None,
    ) -> None:
        """`backends` run now, `configs` are theirs; `outbox` stores dead letters.

        `process` replaces the hub, and is required without one: it stores a push for another node.
        """
        self._hub = hub
        self._process = process or self._accept_update
        self._outbox = outbox
        self._backends = backends
        self._configs = configs
        self._trusted_proxies = trusted_proxies
        self._idle_timeout = idle_timeout
        self.counted: Counter[str] = Counter()
        """Pushes by outcome: accepted, refused (404), malformed, too_large, broken, busy, full, failed;
        `served` are calls that a platform responded to."""
        self._busy = 0
        self._reported: dict[tuple[str, str], str] = {}
        """By backend and kind the outcome that was logged, until a push is accepted again."""

    def set_trusted_proxies(self, networks: tuple[Network, ...]) -> None:
        """Believe the X-Forwarded-For header of these proxies from now on."""
        self._trusted_proxies = networks

    async def respond(self, request: web.BaseRequest) -> web.Response:
        """Respond to any request on the push port. Raises HTTPException."""
        path = request.rel_url.raw_path
        match [unquote(part) for part in path.split("/")] if "%" in path else path.split("/"):
            case ["", "healthz"] if request.method in {"GET", "HEAD"}:
                return web.Response(text="ok\n")
            # Two slashes: the URL was entered with one at its end, and the vendor's system adds its own.
            case ["", "push", backend, secret, kind] | ["", "push", backend, secret, "", kind] if kind:
                return await self._handle(request, backend, secret, kind)
            case ["", "push", backend, secret, kind, ""]:
                return await self._handle(request, backend, secret, kind)
            case ["", prefix, backend, secret, name] | ["", prefix, backend, secret, name, ""]:
                return await self._serve(request, prefix, backend, secret, name)
        raise web.HTTPNotFound

    async def _serve(self, request: web.BaseRequest, prefix: str, backend: str, secret: str, name: str) -> web.Response:
        """Respond to a call that a platform serves (`sdk.api.ServedCall`)."""
        running = self._backends.get(backend)
        served = [call for call in (running.served if running else ()) if (call.prefix, call.name) == (prefix, name)]
        sender = self._sender(request.remote or "", request.headers.getall("X-Forwarded-For", ()))
        if not self._is_authorized(sender, backend, secret.encode("utf-8", "replace")) or not served:
            self.counted["refused"] += 1
            raise web.HTTPNotFound
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        body = await self._read(request)
        self.counted["served"] += 1
        return _response(200, served[0].respond(body, request.headers))

    async def _handle(self, request: web.BaseRequest, name: str, secret: str, kind: str) -> web.Response:
        sender = self._sender(request.remote or "", request.headers.getall("X-Forwarded-For", ()))
        push = self._authorize(sender, name, secret.encode("utf-8", "replace"), kind)
        if push is None:
            self.counted["refused"] += 1
            raise web.HTTPNotFound
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        body = await self._read(request)  # how many of these wait is bounded by the number of connections
        if self._busy >= MAX_BUSY:
            self.counted["busy"] += 1
            return _response(503, push.failure("too many at once"))
        self._busy += 1
        try:
            return _response(*await self._accept(name, push, body))
        finally:
            self._busy -= 1

    async def _read(self, request: web.BaseRequest) -> bytes:
        """Return the body. Raises HTTPException for one that is too large, too slow, or breaks off."""
        if hdrs.EXPECT in request.headers:
            await _continue(request)
        try:
            if not request.content.is_eof():
                async with asyncio.timeout(self._idle_timeout):
                    return await request.read()
            body = request.content.read_nowait()  # it came with the head
        except web.HTTPRequestEntityTooLarge:
            self.counted["too_large"] += 1
            raise
        except TimeoutError as error:
            self.counted["broken"] += 1
            raise web.HTTPRequestTimeout from error
        except (*CLIENT_ERRORS, RuntimeError) as error:
            if isinstance(error, RuntimeError) and request.protocol.connected:
                raise  # otherwise the connection was closed before its body was read
            self.counted["broken"] += 1
            raise web.HTTPBadRequest(text="400: the body breaks off or is not encoded as its header says") from error
        if len(body) > request.client_max_size:
            self.counted["too_large"] += 1
            raise web.HTTPRequestEntityTooLarge(request.client_max_size, len(body))
        return body

    async def accept(self, backend: str, push: Push, body: bytes) -> None:
        """Accept a push that came in another way than by HTTP; what cannot be parsed becomes a dead letter."""
        await self._accept(backend, push, body)

    async def _accept(
        self,
        backend: str,
        push: Push,
        body: bytes,
        stored_push: int | None = None,
        parsed: Update | BackendError | None = None,
    ) -> tuple[int, bytes]:
        """Accept one push; return the status and body of its response.

        One of the push inbox has a number in it, `stored_push`, and is `parsed`: an update, or why it is none.
        """
        with span("push", backend=backend, kind=push.kind, bytes=len(body)) as note:
            try:
                match parsed:
                    case None:
                        await self._process(backend, push, body)
                    case Update():
                        await self._hub_of_owner.accept(parsed, stored_push)
                    case _:
                        raise parsed
            except InvalidResponse as error:
                status, response = await self._add_dead_letter(backend, push, body, error, stored_push)
            except (NotReady, OutboxError) as error:
                status, response = self._refuse(backend, push, error)
            else:
                status, response = 200, push.success
                self.counted["accepted"] += 1
                if self._reported and self._reported.pop((backend, push.kind), None) is not None:
                    _LOG.info("%s: pushes (%s) are accepted again", backend, push.kind)
            note("status", status)
        return status, response

    def _refuse(self, backend: str, push: Push, error: NotReady | OutboxError) -> tuple[int, bytes]:
        """Count and report a push that cannot be accepted now; return the status and body of its response."""
        if isinstance(error, NotReady):
            self.counted["not_ready"] += 1
            return (503, push.failure(str(error)))
        if isinstance(error, OutboxFull):
            self.counted["full"] += 1
            self._report(backend, push, "full", f"pushes are refused: {error}")
            return (503, push.failure(str(error)))
        self.counted["failed"] += 1
        self._report(backend, push, "failed", f"pushes cannot be written to disk and are refused: {error}")
        return (503, push.failure("not stored"))

    @property
    def _hub_of_owner(self) -> Hub:
        assert self._hub is not None  # noqa: S101 - as __init__ says
        return self._hub

    def _accept_update(self, _: str, push: Push, body: bytes) -> Awaitable[object]:
        return self._hub_of_owner.accept(push.accept(body))

    async def accept_stored(self, pushes: Sequence[StoredPush]) -> Sequence[bool]:
        """Accept pushes that other nodes have acknowledged, in their order; return for each False to try it again.

        Each ends in the push inbox once it is accepted. Those that bring nothing but alarms are accepted together with
        the ones before and after them. What no backend accepts any more becomes a dead letter. What has to be tried
        again holds up those behind it.
        """
        results: list[bool] = []
        together: list[Coroutine[Any, Any, bool]] = []

        async def accept_together() -> bool:
            results.extend(await asyncio.gather(*together))
            together.clear()
            return all(results)

        for stored in pushes:
            push = self._find(stored.backend, stored.kind)
            parsed = None if push is None else _parse(push, stored.body)
            alone = not isinstance(parsed, Update) or not is_of_alarms(parsed)
            if alone and not await accept_together():
                break
            together.append(self._accept_stored(stored, push, parsed))
            if alone and not await accept_together():
                break
        await accept_together()
        return results + [False] * (len(pushes) - len(results))

    async def _accept_stored(self, stored: StoredPush, push: Push | None, parsed: Update | BackendError | None) -> bool:
        """Accept a push of the push inbox; return False if it has to be tried again."""
        if push is not None:
            status, _ = await self._accept(stored.backend, push, stored.body, stored.number, parsed)
            return status != UNAVAILABLE
        body = redaction.redact(stored.body[:_STORED_BODY].decode("utf-8", "replace")).encode()
        try:
            await self._outbox.add_dead_letter(
                stored.backend, stored.kind, "no backend accepts pushes of this kind", body, stored.number
            )
        except OutboxError:
            return False
        return True

    def _report(self, backend: str, push: Push, outcome: str, message: str) -> None:
        """Log an outcome once, until a push of this kind is accepted again."""
        if self._reported.get((backend, push.kind)) != outcome:
            self._reported[backend, push.kind] = outcome
            _LOG.warning("%s: %s", backend, message)

    async def retry(self, backend: str, kind: str, body: bytes) -> None:
        """Accept a dead letter once more. Raises BackendError, OutboxError."""
        push = self._find(backend, kind)
        if push is None:
            message = f"{backend} accepts no pushes of kind {kind}"
            raise InvalidResponse(message, code="no_such_push")
        await self._process(backend, push, body)

    def _authorize(self, sender: str | None, backend: str, secret: bytes, kind: str) -> Push | None:
        """Return the push handler, if the backend has it, the secret is right and the sender is allowed."""
        return self._find(backend, kind) if self._is_authorized(sender, backend, secret) else None

    def _is_authorized(self, sender: str | None, backend: str, secret: bytes) -> bool:
        """Return True if the backend accepts requests with this secret from this sender."""
        configured = self._push_config(backend)
        right = hmac.compare_digest((configured.secret.reveal() if configured else "\x00").encode(), secret)
        return configured is not None and right and _is_allowed(sender, configured.allow)

    def _sender(self, remote: str, forwarded: Sequence[str]) -> str | None:
        """Return the address of the sender: behind trusted proxies the last one that they forwarded for.

        What an untrusted sender claims in X-Forwarded-For is not believed; a trusted proxy's header that is no list of
        addresses names nobody.
        """
        if not forwarded:
            return remote
        hops = [hop for field in forwarded for hop in field.split(",")]
        sender: str | None = remote
        while sender is not None and hops and _is_in(sender, self._trusted_proxies):
            address = _parse_hop(hops.pop())
            sender = str(address) if address else None
        return sender

    def _find(self, backend: str, kind: str) -> Push | None:
        found = self._backends.get(backend)
        for push in found.pushes if found else ():
            if push.kind == kind:
                return push
        return None

    def _push_config(self, backend: str) -> PushConfig | None:
        config = self._configs.get(backend)
        return config.push if config else None

    async def _add_dead_letter(
        self, backend: str, push: Push, body: bytes, error: BackendError, stored_push: int | None
    ) -> tuple[int, bytes]:
        """Store a push that cannot be parsed without its secrets, count it, and respond with what is wrong."""
        self.counted["malformed"] += 1
        stored = redaction.redact(body[:_STORED_BODY].decode("utf-8", "replace")).encode()
        try:
            number = await self._outbox.add_dead_letter(backend, push.kind, str(error), stored, stored_push)
        except OutboxError as failure:
            self._report(backend, push, "failed", f"a push could neither be parsed nor stored: {failure}")
            return (503, push.failure("not stored"))
        message = f"a push ({push.kind}) cannot be parsed, kept as dead letter {number}, as are those like it: {error}"
        self._report(backend, push, "malformed", message)
        return (400, push.failure(str(error)))


def _parse(push: Push, body: bytes) -> Update | BackendError:
    try:
        return push.accept(body)
    except (InvalidResponse, NotReady) as error:
        return error


def _is_allowed(sender: str | None, networks: tuple[Network, ...]) -> bool:
    if not networks or networks is EVERYWHERE:
        return _parse_address(sender or "") is not None
    return _is_in(sender or "", networks)


def _is_in(sender: str, networks: tuple[Network, ...]) -> bool:
    address = _parse_address(sender)
    return address is not None and any(address in network for network in networks)


@lru_cache(maxsize=1024)
def _parse_address(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _parse_hop(text: str) -> Address | None:
    """Return an address of X-Forwarded-For, which some proxies write with a port."""
    hop = text.strip()
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    return _parse_address(hop)


async def _continue(request: web.BaseRequest) -> None:
    """Send 100 Continue to a client that waits for it. Raises HTTPExpectationFailed."""
    expected = request.headers[hdrs.EXPECT]
    if request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed(text=f"417: unknown expectation {expected}")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # this is no part of the response


_HEADERS = CIMultiDict({hdrs.CONTENT_TYPE: "application/json; charset=utf-8"})
_HEADERS_503 = CIMultiDict({**_HEADERS, hdrs.RETRY_AFTER: RETRY_AFTER})


def _response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, headers=_HEADERS_503 if status == 503 else _HEADERS)
