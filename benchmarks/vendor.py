"""A UMS of so many devices whose pages are encoded beforehand, so that its own work does not stand in the way."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from benchmarks.ground import HOST
from fleet2mqtt.simulators.ums.app import SIMULATOR, create

_WINDOW = re.compile(rb"GET /s1/device\?limit=(\d+)&offset=(\d+)")
_REST = {
    b"/detect": "detects",
    b"/statistics?": "events_statistics",
    b"/statistics ": "metricHistoryStatistics",
    b"/metric_history": "metricHistorys",
    b"/device/status": "states_statistics",
}
PAGE = 100


class Vendor:
    """`started` is called at each first page of a reading; one device in `every` changes between two readings."""

    def __init__(self, devices: int, every: int = 100) -> None:
        self._rows = _rows(devices)
        self._every = every
        self._reading = 0
        self._pages = [self._encode(at) for at in range(0, devices, PAGE)]
        self.lines_asked = 0
        self.started: Callable[[], None] = lambda: None

    def answer(self, request: bytes) -> bytes:
        """The answer to a request."""
        window = _WINDOW.match(request)
        if window is None:
            self.lines_asked += b"/detect" in request
            name = next((name for part, name in _REST.items() if part in request), "none")
            return _http({"code": 0, "status": "ok", "meta": {"totalResults": 0}, name: []})
        offset = int(window[2])
        if offset == 0:
            self._change()
            self.started()
        return self._pages[offset // PAGE]

    def _change(self) -> None:
        """Another one in `every` has a new address; they are spread over all pages."""
        self._reading += 1
        changed = range(self._reading % self._every, len(self._rows), self._every)
        for number in changed:
            self._rows[number]["connection_ip"] = f"10.0.{self._reading % 250}.{number % 250}"
        for page in {number // PAGE for number in changed}:
            self._pages[page] = self._encode(page * PAGE)

    def _encode(self, offset: int) -> bytes:
        meta = {"limit": PAGE, "offset": offset, "query": "", "totalResults": len(self._rows)}
        rows = self._rows[offset : offset + PAGE]
        return _http({"code": 0, "status": "成功", "meta": meta, "devices": rows})


class _Connection(asyncio.Protocol):
    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if end and len(body) >= (int(length[1]) if length else 0):
            self._buffer = b""
            self._transport.write(self._vendor.answer(head))


@asynccontextmanager
async def served(vendor: Vendor) -> AsyncIterator[str]:
    """Serve the vendor; yield its URL."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(vendor), HOST, 0)
    try:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def _rows(devices: int) -> list[dict[str, Any]]:
    """The simulator's own devices as the UMS document 3.1 lists them."""
    app: web.Application = create(devices=min(devices, 1000))
    state = app[SIMULATOR]
    samples = [state.quirks.device(each, logged_in=False, group_info=True) for each in state.devices.values()]
    return [
        {**samples[number % len(samples)], "device_mac": f"000EA9{number:06X}", "device_name": f"gateway {number}"}
        for number in range(devices)
    ]


def _http(content: dict[str, Any]) -> bytes:
    body = json.dumps(content, ensure_ascii=False).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
