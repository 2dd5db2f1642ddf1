"""Server-sent events: what has changed of a view, at most every 2 s, to a bounded number of clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.contract.payloads import dumps
from fleet2mqtt.errors import CommandError, OutboxError
from fleet2mqtt.web.parameters import Parameters

INTERVAL = 2.0
MAX_CLIENTS = 32
"""Streams at once; more are answered 503."""
RETRY_AFTER = 10
"""Seconds after which a client that was refused may try again."""
WRITE_TIMEOUT = 30.0
"""Seconds after which a client that does not read is disconnected."""
_RECONNECT_DELAY = 3_000  # milliseconds, for the browser
_SHARE_OF_TIME = 0.2
"""Share of the event loop's time that building views may take, whatever the number of clients."""

View = Callable[[Parameters], Awaitable[dict[str, Any] | None]]
"""Returns the content of a page by its parameters, None where there is nothing. Raises ParameterError."""


class Streams:
    """The open streams of one web application."""

    def __init__(self, interval: float = INTERVAL, max_clients: int = MAX_CLIENTS) -> None:
        self._interval = interval
        self._max_clients = max_clients
        self.clients = 0
        """Streams that are open."""
        self._closing = asyncio.Event()
        self._turn = asyncio.Lock()
        self._recent: dict[object, tuple[float, dict[str, Any] | None]] = {}
        """Views by what was asked for, with the time at which each was built: clients with one URL share it."""

    async def close(self, _: web.Application) -> None:
        """End all streams: the server stops."""
        self.disconnect()

    def disconnect(self) -> None:
        """End all streams that are open now; their clients connect again, unless the server has stopped."""
        self._closing.set()
        self._closing = asyncio.Event()

    async def respond(self, request: web.Request, view: View, parameters: Parameters) -> web.StreamResponse:
        """Send changes of a view until the client disconnects or the server stops.

        Raises ParameterError, OutboxError, and HTTPException for too many clients and for nothing to show.
        """
        if self.clients >= self._max_clients:
            raise web.HTTPServiceUnavailable(
                text="too many pages are open: try again later", headers={"Retry-After": str(RETRY_AFTER)}
            )
        self.clients += 1
        try:
            content = await self._build(view, parameters)
            if content is None:
                raise web.HTTPNotFound
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
            await response.prepare(request)
            if request.method != "HEAD":
                await self._send(request, response, view, parameters, content)
            return response
        finally:
            self.clients -= 1

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        view: View,
        parameters: Parameters,
        content: dict[str, Any] | None,
    ) -> None:
        sent, closing = SentView(), self._closing
        try:
            await response.write(b"retry: %d\n\n" % _RECONNECT_DELAY)
            while content is not None and not closing.is_set():
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await response.write(b"data: %s\n\n" % dumps(sent.changes(content)))
                await wait_for_event(closing, self._interval)
                if request.transport is None or request.transport.is_closing():
                    return
                content = await self._build(view, parameters)
        except (ConnectionError, TimeoutError, OutboxError, CommandError):
            # The client is gone or does not read, or the disk or another node fails: it connects again and is sent all.
            if request.transport is not None:
                request.transport.abort()

    async def _build(self, view: View, parameters: Parameters) -> dict[str, Any] | None:
        """Return a view that is not older than half an interval; building takes a bounded share of the time."""
        key = (view, parameters.key)
        async with self._turn:
            begin = time.monotonic()
            built, content = self._recent.get(key, (0.0, None))
            if content is None or built < begin - self._interval / 2:
                content = await view(parameters)
                end = time.monotonic()
                oldest = end - self._interval
                self._recent = {each: entry for each, entry in self._recent.items() if entry[0] > oldest}
                self._recent[key] = end, content
                await asyncio.sleep(min(self._interval, (end - begin) * (1 / _SHARE_OF_TIME - 1)))
        return content


class SentView:
    """Content that a client was sent of a view: its sections, and of a section with `rows` each row by its id."""

    def __init__(self) -> None:
        self._sections: dict[str, object] = {}
        self._rows: dict[str, dict[str, object]] = {}

    def changes(self, view: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sections that are not as they were sent; of rows those that changed, and the `order` of all."""
        changed = {}
        for name, section in view.items():
            if isinstance(section, Mapping) and "rows" in section:
                found = self._changed_rows(name, section)
                if found is not None:
                    changed[name] = found
            elif name not in self._sections or self._sections[name] != section:
                changed[name] = self._sections[name] = section
                self._rows.pop(name, None)
        return changed

    def _changed_rows(self, name: str, section: Mapping[str, Any]) -> dict[str, Any] | None:
        before = self._rows.get(name)
        rows = {row["id"]: row for row in section["rows"]}
        rest = {key: value for key, value in section.items() if key != "rows"}
        changed = [row for id_, row in rows.items() if before is None or before.get(id_) != row]
        reordered = before is None or list(before) != list(rows)
        if not changed and not reordered and self._sections.get(name) == rest:
            return None
        self._sections[name], self._rows[name] = rest, rows
        return {**rest, "rows": changed, **({"order": list(rows)} if reordered else {})}
