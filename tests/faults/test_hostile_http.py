"""Requests that are no HTTP or no push, or of no backend: each has the same response, is counted, and not logged."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from fleet2mqtt.push.http_server import start_http_server
from tests.bridge_under_test import MAC, SECRET, RunningBridge, Site
from tests.broker import HOST
from tests.waiting import PATIENCE, wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PUSH = f"/push/hq_voip/{SECRET}/event"
ALARM = {"id": "1", "metric_history_producer": MAC}
NO_HTTP = (
    b"\x00\x01\x02\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"POST / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: a\r\n" % number for number in range(500)) + b"\r\n",
    f"POST {PUSH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
    f"POST {PUSH} HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n".encode(),
    f"POST {PUSH} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef".encode(),
    f"POST {PUSH} HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{{}}".encode(),
    f"POST http://x:99999{PUSH} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    f"POST {PUSH} HTTP/1.1\r\nHost: x\r\nCookie: \x00=;;\r\n\r\n".encode(),
    b"POST /push/" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
)
UNKNOWN = (
    "/",
    "/push",
    "/push/hq_voip",
    "/push/hq_voip/wrong/event",
    f"/push/nobody/{SECRET}/event",
    f"/push/hq_voip/{SECRET}/nothing",
    f"/push/hq_voip/{SECRET[:-1]}/event",
    f"/push/hq_voip/{SECRET}x/event",
    "/push/hq_voip//event",
    "/push/branch/x/event",
    "/push/hq_voip/%00/event",
    "/push/hq_voip/%ff%fe/event",
    "/push/hq_voip/%ed%a0%80/event",
    "/push/hq_voip/../../etc/passwd",
    "/push/hq_voip/%2e%2e%2f%2e%2e%2fetc%2fpasswd/event",
    f"//push/hq_voip/{SECRET}/event",
    f"/push/hq_voip/{SECRET}/event/x",
    f"/push/hq_voip%2f{SECRET}/event",
    "/push/hq_voip/" + "%E5%AF%86" * 500 + "/event",
)


@pytest.fixture
async def bridge(site: Site) -> AsyncIterator[RunningBridge]:
    async with site.bridge(branch=None) as bridge:
        yield bridge


async def talk(port: int, said: bytes) -> bytes:
    """Everything that is answered until the connection is closed."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(said)
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def request(path: str, body: bytes = b"{}", method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def without_date(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"Date:")]


@pytest.mark.usefixtures("bridge")
async def test_bytes_other_than_http_close_connection(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    for said in NO_HTTP:
        answer = await talk(site.push_port, said)
        assert answer.split(b" ")[1:2] in ([b"400"], [b"505"]), (said[:60], answer[:60])
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []
    assert (await site.push(ALARM))[0] == 200


@pytest.mark.usefixtures("bridge")
async def test_wrong_path_gets_same_response(site: Site) -> None:
    body = json.dumps(ALARM).encode()
    answers = {
        (method, path): without_date(await talk(site.push_port, request(path, body, method)))
        for method in ("POST", "GET", "DELETE", "OPTIONS")
        for path in UNKNOWN
    }
    wanted = answers["POST", "/"]
    assert wanted[0] == b"HTTP/1.1 404 Not Found"
    assert {asked: answer for asked, answer in answers.items() if answer != wanted} == {}


async def test_sender_that_disconnects_is_counted_without_response(
    site: Site, bridge: RunningBridge, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    for _ in range(20):
        _, writer = await asyncio.open_connection(HOST, site.push_port)
        writer.write(f"POST {PUSH} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nabc".encode())
        await writer.drain()
        await talk(site.push_port, request("/"))  # comes behind it
        writer.transport.abort()

    async def counted() -> bool:
        async with asyncio.timeout(PATIENCE):
            return b'fleet2mqtt_pushes_total{result="broken"} 20.0' in await talk(
                site.web_port, request("/metrics", b"", "GET")
            )

    await wait_for_answer(counted, "20 that broke off")
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []
    assert (await bridge.ask("dead_letters"))["data"]["total"] == 0


async def test_idle_connection_is_closed() -> None:
    listener = await start_http_server(web.Application(), HOST, 0, idle_timeout=0.2)
    port = listener.addresses[0][1]
    try:
        for said in (b"", b"POST / HTTP/1.1\r\nHost", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            answer = await talk(port, said)
            assert not answer or answer.startswith(b"HTTP/1.1 404")
    finally:
        await listener.cleanup()


async def test_oldest_connection_is_closed_for_next() -> None:
    listener = await start_http_server(web.Application(), HOST, 0, max_connections=5)
    port = listener.addresses[0][1]
    connections = []
    try:
        for _ in range(20):
            reader, writer = await asyncio.open_connection(HOST, port)
            connections.append((reader, writer))
            answer = await talk(port, request("/"))
            assert answer.startswith(b"HTTP/1.1 404")
        for reader, _ in connections[:10]:
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b""
        connections[-1][1].write(request("/"))
        async with asyncio.timeout(PATIENCE):
            assert (await connections[-1][0].read()).startswith(b"HTTP/1.1 404")
    finally:
        for _, writer in connections:
            writer.transport.abort()
        await listener.cleanup()
