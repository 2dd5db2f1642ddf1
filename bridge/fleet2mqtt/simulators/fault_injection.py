"""Fault injection: faults on demand and recorded calls, shared by all simulators. Knows no vendor.

A simulator is written from its vendor's document alone and imports nothing else of this project, so that one
misreading cannot pass in the client and in its simulator. Tests and people steer it in process (`FaultInjector`) or
over HTTP: `GET /_sim/calls`, `GET|POST|DELETE /_sim/faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fnmatch import fnmatch
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

CONTROL = "/_sim/"
_MISTAKES = (AttributeError, KeyError, TypeError, ValueError)
SIGNATURES = frozenset(("random", "md5"))
"""Parameters that differ in each request for the same data."""


class FaultKind(StrEnum):
    """Kinds of faults. The first group is implemented here, the second by each simulator in its vendor's terms."""

    STATUS = "status"  # answer `status`, default 500, nothing carried out
    HANG = "hang"  # no answer for `seconds`, default 3600, or until the faults are cleared; then `status`
    SLOW = "slow"  # the right answer, a byte at a time, `seconds` between two bytes
    MALFORMED = "malformed"  # status 200, half of the right answer
    GARBAGE = "garbage"  # status 200, `text` or an HTML page
    RESET = "reset"  # the connection drops, nothing carried out
    LOST_ANSWER = "lost_answer"  # carried out, and the connection drops before the answer
    FROZEN = "frozen"  # the first answer again and again

    ERROR = "error"  # the vendor's own refusal with `code` and `text`
    NOOP = "noop"  # the vendor says yes and does nothing
    EMPTY = "empty"  # an empty list with the vendor's success
    DRIFT = "drift"  # rows move from page to page while they are read


@dataclass(slots=True, kw_only=True)
class InjectedFault:
    """One injected fault: on paths that match `path` (as in a shell), `times` times or until cleared."""

    kind: FaultKind
    path: str = "*"
    times: int | None = None
    seconds: float = 3600.0
    status: int = 500
    code: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One recorded request; `body` is the parsed JSON, or the text where it is none."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    at: float


@dataclass(slots=True)
class FaultInjector:
    """Injected faults and recorded calls, newest last (the last 20,000)."""

    faults: list[InjectedFault] = field(default_factory=list)
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=20_000))
    _frozen: dict[str, tuple[int, bytes, str]] = field(default_factory=dict)
    _cleared: asyncio.Event = field(default_factory=asyncio.Event)

    def inject(self, kind: FaultKind | str, path: str = "*", **options: Any) -> None:
        """Inject a fault on `path`; options are the other fields of `InjectedFault`."""
        self.faults.append(InjectedFault(kind=FaultKind(kind), path=path, **options))

    def clear(self) -> None:
        """Remove all faults, and end requests that hang."""
        self.faults.clear()
        self._frozen.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    def take(self, path: str, *kinds: FaultKind) -> InjectedFault | None:
        """Return a fault of these kinds for this path and count it as used, None if there is none."""
        for fault in self.faults:
            if fault.kind in kinds and fnmatch(path, fault.path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                return fault
        return None

    def attach(self, app: web.Application) -> None:
        """Add the control paths and the faults to a simulator's application."""
        app.middlewares.append(self._middleware())
        app.router.add_get(CONTROL + "calls", self._get_calls)
        app.router.add_get(CONTROL + "faults", self._get_faults)
        app.router.add_post(CONTROL + "faults", self._post_fault)
        app.router.add_delete(CONTROL + "faults", self._delete_faults)

    def _middleware(self) -> Any:
        @web.middleware
        async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith(CONTROL):
                return await handler(request)
            self.calls.append(await _record(request))
            before = self.take(request.path, FaultKind.STATUS, FaultKind.HANG, FaultKind.RESET, FaultKind.GARBAGE)
            if before is not None:
                return await _instead(request, before, self._cleared)
            frozen = self.take(request.path, FaultKind.FROZEN)
            asked = _question(self.calls[-1])
            if frozen is not None and asked in self._frozen:
                status, body, kind = self._frozen[asked]
                return web.Response(status=status, body=body, content_type=kind)
            response = await handler(request)
            answer = response.body if isinstance(response, web.Response) else None
            if not isinstance(answer, bytes):
                return response
            if frozen is not None:
                self._frozen[asked] = (response.status, answer, response.content_type)
            after = self.take(request.path, FaultKind.SLOW, FaultKind.MALFORMED, FaultKind.LOST_ANSWER)
            return response if after is None else await _spoil(request, response.status, answer, after)

        return misbehave

    async def _get_calls(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.calls])

    async def _get_faults(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(fault) for fault in self.faults])

    async def _post_fault(self, request: web.Request) -> web.Response:
        try:
            self.inject(**await request.json())
        except (TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return await self._get_faults(request)

    async def _delete_faults(self, request: web.Request) -> web.Response:
        self.clear()
        return await self._get_faults(request)


async def _record(request: web.Request) -> Call:
    raw = await request.read()
    try:
        body: Any = json.loads(raw) if raw else None
    except ValueError:
        body = raw.decode("utf-8", "replace")
    return Call(
        method=request.method,
        path=request.path,
        query=dict(request.query),
        headers=dict(request.headers),
        body=body,
        at=time.time(),
    )


def explaining(handler: Handler) -> Handler:
    """Return a handler of a path under `/_sim/` that responds 400 with the reason to a body that it cannot use."""

    async def explained(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except _MISTAKES as error:
            raise web.HTTPBadRequest(text=f"{type(error).__name__}: {error}") from error

    return explained


def _question(call: Call) -> str:
    """Return the key of a request, without its signature."""
    asked = [
        {key: value for key, value in part.items() if key not in SIGNATURES} if isinstance(part, dict) else part
        for part in (call.query, call.body)
    ]
    return json.dumps([call.method, call.path, *asked], sort_keys=True)


async def _instead(request: web.Request, fault: InjectedFault, cleared: asyncio.Event) -> web.StreamResponse:
    if fault.kind is FaultKind.HANG:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fault.seconds):
                await cleared.wait()
    if fault.kind is FaultKind.RESET:
        return _drop(request)
    if fault.kind is FaultKind.GARBAGE:
        return web.Response(text=fault.text or "<html><body>Bad Gateway</body></html>", content_type="text/html")
    return web.Response(status=fault.status, text=fault.text or "simulated fault")


async def _spoil(request: web.Request, status: int, body: bytes, fault: InjectedFault) -> web.StreamResponse:
    if fault.kind is FaultKind.LOST_ANSWER:
        return _drop(request)
    if fault.kind is FaultKind.MALFORMED:
        return web.Response(status=status, body=body[: len(body) // 2], content_type="application/json")
    slow = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
    await slow.prepare(request)
    for byte in body:
        await slow.write(bytes([byte]))
        await asyncio.sleep(fault.seconds)
    await slow.write_eof()
    return slow


def _drop(request: web.Request) -> web.Response:
    """Abort the connection: the client sees neither a response nor an orderly end."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
