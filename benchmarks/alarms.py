"""Many active alarms, and a storm of them: how long a page of them takes, and what of a storm is lost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp

from benchmarks import bridges, ground, load
from benchmarks.ground import HOST, BenchError
from benchmarks.load import Door
from benchmarks.peers import UMS_ALARM
from benchmarks.push import CONNECTIONS

GATEWAYS = 1_000
PATIENCE = 300.0
_RAISED, _CLEARED = "bench_raised", "bench_cleared"
_OPTIONS = {"alarms": {"recovers": [{"raised": _RAISED, "by": _CLEARED}]}}


@dataclass(slots=True, kw_only=True)
class Figures:
    """Counts and durations of a list of active alarms, and of a storm."""

    active: int
    events: int
    pages: list[float] = field(default_factory=list)
    """Seconds of a page of active alarms, a value a request."""
    seconds: float = 0.0
    """Seconds of the storm, until the last event was delivered, without the time in which pages were asked for."""
    lost: int = 0
    left: int = 0
    """Alarms that are still active after it."""


async def measure(folder: Path, events: int, listed: int, pages: int) -> Figures:
    """Raise alarms, ask for pages of them on the way, and clear them: `events` in all."""
    figures, pairs = Figures(active=listed, events=events), events // 2

    def body(number: int) -> bytes:
        alarm, name = number % pairs, _RAISED if number < pairs else _CLEARED
        mac, line = b"000EA9%06X" % (alarm % GATEWAYS), alarm // GATEWAYS
        return UMS_ALARM % (b"bench-%08d" % number, name.encode(), mac, line)

    async with (
        ground.mosquitto(folder / "broker") as broker,
        bridges.simulator(folder, "ums", 2) as url,
        aiohttp.ClientSession() as session,
    ):
        setup = bridges.Setup(
            folder=folder / "bridge", broker=broker, platform="ums", url=url, sources=bridges.UMS_SOURCES
        )
        async with bridges.running(replace(setup, options=_OPTIONS)) as program:
            await ground.listening(program, setup.push)
            door = Door(port=setup.push, path=bridges.PUSHES, topic=bridges.EVENTS, body=body)
            for first, last in ((0, listed), (listed, pairs), (pairs, 2 * pairs)):
                await _post(door, broker, first, last, figures)
                if last == listed:
                    for _ in range(pages):
                        figures.pages.append(await _page(session, setup.web, listed))
            figures.left = (await _list(session, setup.web))["alarms"]["matching"] - await _own(session, setup.web)
    return figures


async def _post(door: Door, broker: int, first: int, last: int, figures: Figures) -> None:
    if first == last:
        return
    run = await load.post(door, broker, CONNECTIONS, PATIENCE, first, most=last - first)
    if run.refused:
        raise BenchError(f"{run.refused} of {last - first} alarms were refused")
    figures.seconds += run.duration()
    figures.lost += last - first - len(run.delivered)


async def _page(session: aiohttp.ClientSession, port: int, listed: int) -> float:
    requested_at = perf_counter()
    found = await _list(session, port)
    if found["alarms"]["matching"] < listed:
        raise BenchError(f"only {found['alarms']['matching']} of {listed} alarms are active")
    return perf_counter() - requested_at


async def _own(session: aiohttp.ClientSession, port: int) -> int:
    """Return the number of active alarms that the bridge itself has made from the simulator's gateways."""
    rows = (await _list(session, port))["alarms"]["rows"]
    return sum(row["source"] == "condition" for row in rows)


async def _list(session: aiohttp.ClientSession, port: int) -> dict[str, Any]:
    async with session.get(f"http://{HOST}:{port}/api/alarms?state=active") as response:
        found: dict[str, Any] = await response.json()
    return found
