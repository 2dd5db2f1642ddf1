"""Thousands of slow connections: pushes, polls and commands go on, and memory and files stay bounded."""

from __future__ import annotations

import asyncio
import resource
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import CHANNEL, GATEWAY, MAC, SECRET, SN, Site
from tests.broker import HOST
from tests.faults.surroundings import Remote, as_process
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PUSH = f"/push/hq_voip/{SECRET}/event"
HEAD = f"POST {PUSH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
ROUNDS = 15
GROWTH = 96 * 1024 * 1024
ENOUGH_FILES = 12_000


def how_many() -> int:
    """Connections to open: as many as this machine lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < ENOUGH_FILES <= hard or hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ENOUGH_FILES, hard))
        soft = ENOUGH_FILES
    return 10_000 if soft >= ENOUGH_FILES else 2_000 if soft >= 4_000 else 500


@asynccontextmanager
async def dawdling(port: int, count: int, *said: bytes) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Open so many connections, each of which has sent one of these and no more."""
    writers: list[asyncio.StreamWriter] = []
    gate = asyncio.Semaphore(200)

    async def connect(number: int) -> None:
        async with gate:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                return  # refused: nothing that the bridge had to bear
            writer.write(said[number % len(said)])
            writers.append(writer)

    await asyncio.gather(*(connect(number) for number in range(count)))
    try:
        yield writers
    finally:
        for writer in writers:
            writer.transport.abort()


async def everything_goes_on(site: Site, remote: Remote, rounds: int) -> None:
    """Pushes, polls and commands, one after another."""
    bridge = remote.bridge
    before = len(bridge.events())
    for number in range(rounds):
        assert (await site.push(site.ums.raise_alarm(MAC, push=False)))[0] == 200
        site.gateways.set_base(SN, alias=f"name {number}")
        assert (await bridge.refresh(backend="branch"))["branch"]["devices"]["ok"]
        wanted = "ON" if number % 2 else "OFF"
        assert (await bridge.set(CHANNEL, {"enable": wanted}))["status"] == "confirmed"
    await bridge.event_count(before + rounds)
    assert (await bridge.devices())[GATEWAY]["name"] == f"name {rounds - 1}"


@pytest.fixture
async def remote(site: Site) -> AsyncIterator[Remote]:
    site.ums.history.clear()
    async with as_process(site) as remote:
        await remote.bridge.refresh()
        yield remote


async def test_slow_senders_do_not_delay_others(site: Site, remote: Remote) -> None:
    said = (b"", b"P", HEAD.encode(), f"{HEAD}\r\n".encode(), f"{HEAD}\r\n{{".encode(), b"GET /x HTTP/1.1\r\n")
    async with dawdling(site.push_port, 300, *said) as writers:
        drip = asyncio.create_task(_drip(writers), name="slow bytes")
        await everything_goes_on(site, remote, ROUNDS)
        drip.cancel()
        assert remote.process.process.returncode is None
    assert not remote.unwell(), remote.process.output[-3000:]


async def _drip(writers: list[asyncio.StreamWriter]) -> None:
    while True:
        for writer in writers:
            if not writer.is_closing():
                writer.write(b"x")
        await asyncio.sleep(0.5)


async def test_thousands_of_connections_do_not_delay_others(site: Site, remote: Remote) -> None:
    before, many = remote.rss(), how_many()
    async with dawdling(site.push_port, many, b"", b"POST", f"{HEAD}\r\n".encode()):
        await everything_goes_on(site, remote, ROUNDS)
        assert remote.files() < 6_000
        assert remote.rss() - before < GROWTH
    assert not remote.unwell(), remote.process.output[-3000:]
    await wait_until(lambda: remote.files() < 200, lambda: f"files to be closed: {remote.files()}")


async def test_process_with_few_file_descriptors_keeps_a_reserve(site: Site) -> None:
    """A service has 1,024 open files by default."""
    site.ums.history.clear()
    async with as_process(site, files=1_024) as small, dawdling(site.push_port, 1_500, b"", b"POST"):
        await everything_goes_on(site, small, 5)
        assert small.files() < 1_000
        assert not small.unwell(), small.process.output[-3000:]
