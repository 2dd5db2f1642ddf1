"""The HTTP client: redirects, connections that a vendor closes, and errors in plain words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import Ambiguous, InvalidResponse, Unreachable
from fleet2mqtt.sdk.http_client import Envelope, HttpClient, open_http_client
from fleet2mqtt.sdk.rate_limiter import RateLimiter


@asynccontextmanager
async def client(url: str) -> AsyncIterator[HttpClient]:
    options = {"url": url.rstrip("/"), "timeout": 30.0, "headers": {}, "verify_tls": True, "ca": None}
    async with open_http_client(options, envelope=Envelope(), rate_limiter=RateLimiter()) as api:
        yield api


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_rejected_with_its_target(status: int) -> None:
    followed = []

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/list":
            return web.Response(status=status, headers={"Location": "/elsewhere?sign=4711canary"})
        followed.append(request.path)
        return web.json_response({"code": 0})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, client(str(server.make_url(""))) as api:
        with pytest.raises(InvalidResponse, match="redirected to /elsewhere; is the backend's url right") as caught:
            await api.call("POST", "/list")
    assert caught.value.code == status
    assert "4711canary" not in str(caught.value)
    assert not followed


# Keep-alive races (faults.md 2.9)


class ClosingVendor:
    """Answers the first request of a connection, and closes it when the second arrives."""

    BODY = b'{"code": 0}'

    def __init__(self) -> None:
        self.requests: list[int] = []
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        for answers in (True, False):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            await reader.readexactly(length)
            self.requests.append(number)
            if answers:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.BODY), self.BODY))
                await writer.drain()
        writer.close()


@asynccontextmanager
async def closing_vendor() -> AsyncIterator[tuple[ClosingVendor, HttpClient]]:
    vendor = ClosingVendor()
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    async with server, client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as api:
        yield vendor, api


@pytest.mark.parametrize(("method", "writes"), [("GET", None), ("POST", False)])
async def test_call_that_reads_idle_connection_closes_is_sent_once_more(method: str, *, writes: bool | None) -> None:
    async with closing_vendor() as (vendor, api):
        for _ in range(2):
            assert await api.call(method, "/list", json={"page": 1}, writes=writes) == {"code": 0}
    assert vendor.requests == [1, 1, 2]


async def test_call_that_writes_never_shares_a_connection() -> None:
    async with closing_vendor() as (vendor, api):
        await api.call("GET", "/list")
        for _ in range(3):
            assert await api.call("POST", "/set", json={"on": 1}) == {"code": 0}
    assert vendor.requests == [1, 2, 3, 4]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
async def test_call_that_writes_connection_breaks_is_ambiguous_and_not_repeated(method: str) -> None:
    calls = []

    async def breaks(request: web.Request) -> web.Response:
        calls.append(request.path)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", breaks)
    async with TestServer(app) as server, client(str(server.make_url(""))) as api:
        with pytest.raises(Ambiguous, match="the vendor closed it before a response came"):
            await api.call(method, "/set", json={"on": 1}, writes=True)
        assert calls == ["/set"]
        with pytest.raises(Ambiguous):
            await api.call("GET", "/list")
        assert calls == ["/set", "/list", "/list"]


# Errors in plain words (faults.md 2.10)


async def test_connection_refused_error_has_no_terms_of_aiohttp() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with client(f"http://127.0.0.1:{port}") as api:
        with pytest.raises(Unreachable) as caught:
            await api.call("GET", "/list")
    assert str(caught.value) == f"/list: no connection to http://127.0.0.1:{port}: connection refused"


async def test_host_without_address_error_says_so() -> None:
    async with client("http://nowhere.invalid") as api:
        with pytest.raises(Unreachable, match="the host name cannot be resolved"):
            await api.call("GET", "/list")
