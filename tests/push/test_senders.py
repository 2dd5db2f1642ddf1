"""Senders of pushes: which address counts, behind proxies and on both versions of IP."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import MAC, SECRET, RunningBridge, Site, open_site
from tests.broker import HOST
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ALARM = {"id": "1", "metric_history_producer": MAC}
VENDOR = "10.0.0.5"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


@asynccontextmanager
async def behind(site: Site, *proxies: str, host: str = HOST) -> AsyncIterator[RunningBridge]:
    """A bridge that accepts the vendor's address, behind trusted proxies."""
    push = {"host": host, "port": site.push_port, **({"trusted_proxies": list(proxies)} if proxies else {})}
    voip = {"push": {"secret": SECRET, "allow": [f"{VENDOR}/32"]}}
    async with site.bridge(branch=None, hq_voip=voip, push=push) as bridge:
        yield bridge


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        (VENDOR, 200),
        (f"{VENDOR}:4711", 200),
        (f" 192.168.1.1 , {VENDOR} ", 200),
        (f"{VENDOR}, 127.0.0.1", 200),
        (f"::ffff:{VENDOR}", 200),
        ("192.168.1.1", 404),
        (f"{VENDOR}, 192.168.1.1", 404),
        ("[2001:db8::1]:80", 404),
        ("unknown", 404),
        ("", 404),
    ],
)
async def test_push_behind_a_trusted_proxy_counts_the_sender_that_it_names(
    site: Site, forwarded: str, status: int
) -> None:
    async with behind(site, "127.0.0.0/8"):
        assert (await site.push(ALARM, **{"X-Forwarded-For": forwarded}))[0] == status


async def test_push_of_an_untrusted_sender_with_a_forged_header_is_refused(site: Site) -> None:
    async with behind(site):
        assert (await site.push(ALARM, **{"X-Forwarded-For": VENDOR}))[0] == 404
    async with behind(site, "10.9.9.9"):
        assert (await site.push(ALARM, **{"X-Forwarded-For": VENDOR}))[0] == 404


async def test_push_server_on_any_ipv6_address_is_reached_by_ipv4(site: Site) -> None:
    async with site.bridge(branch=None, push={"host": "::", "port": site.push_port}) as bridge:
        assert (await site.push(ALARM))[0] == 200
        await bridge.event_count(1)
        with socket.create_connection(("::1", site.push_port)):
            pass


async def test_push_server_on_ipv6_logs_its_address_in_brackets(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with site.bridge(branch=None, push={"host": "::1", "port": site.push_port}):
        pass
    assert f"push listens on [::1]:{site.push_port}" in caplog.messages


async def test_request_without_a_host_header_is_logged_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    request = f"POST /push/hq_voip/{SECRET}/event HTTP/1.1\r\nX-Other: 1\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    async with site.bridge(branch=None):
        caplog.clear()
        for _ in range(3):
            await talk(site.push_port, request)
    assert [each for each in caplog.messages if "Host" in each] == [
        "Error handling request from 127.0.0.1: HTTP/1.1 without a Host header is refused (400)"
    ]


async def talk(port: int, request: bytes) -> bytes:
    """Send a request and read until the connection is closed."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        response = await reader.read()
    writer.close()
    return response
