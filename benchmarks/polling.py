"""A poll of many UMS devices of which one in a hundred changed, and what so many devices cost."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from benchmarks import bridges, ground
from benchmarks.ground import BenchError, Program
from benchmarks.mqtt import subscribed
from benchmarks.vendor import Vendor, served

DEVICES_A_SECOND = 10_000
"""Devices that are read a second at most: so many seconds lie between two readings, and one at least."""
_STATE = re.compile(rb"fleet2mqtt/device/hq_000ea9[0-9a-f]{6}/state")
_CONFIG = re.compile(rb"homeassistant/device/fleet2mqtt_hq_000ea9[0-9a-f]{6}/config")
_QUIET = 5.0
"""Seconds after which a device is described again at the soonest; an entity goes after two readings without it."""
_LONGEST = 900.0


@dataclass(slots=True, kw_only=True)
class Figures:
    """Processor seconds a reading, by round; messages a reading; bytes held; seconds until all was announced."""

    devices: int
    bridge: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    rss: int = 0
    announced: float = 0.0


class _Meter:
    """Processor time of one program from the start of one reading to the start of the next."""

    def __init__(self, vendor: Vendor) -> None:
        self._program: Program | None = None
        self._last: float | None = None
        self._readings: list[float] = []
        self._event = asyncio.Event()
        vendor.started = self._started

    def _started(self) -> None:
        if self._program is None:
            return
        now = self._program.cpu()
        if self._last is not None:
            self._readings.append(now - self._last)
        self._last = now
        self._event.set()

    async def take(self, program: Program, readings: int) -> list[float]:
        """Let this program run alone until it has made so many readings; return the seconds of each."""
        self._program, self._last, self._readings = program, None, []
        program.process.send_signal(signal.SIGCONT)
        while len(self._readings) < readings:
            self._event.clear()
            async with asyncio.timeout(_LONGEST):
                await self._event.wait()
        self._program = None
        program.process.send_signal(signal.SIGSTOP)
        return self._readings


@dataclass(slots=True)
class _Heard:
    """States that a subscriber to all topics received, and the time of the last discovery message."""

    states: int = 0
    described: float = field(default_factory=perf_counter)

    def take(self, data: bytes) -> None:
        """Some bytes of messages."""
        self.states += len(_STATE.findall(data))
        if _CONFIG.search(data):
            self.described = perf_counter()


async def measure(folder: Path, devices: int, rounds: int) -> Figures:
    """Bridge and bare loop in turns, reading the same pages."""
    figures, vendor, heard = Figures(devices=devices), Vendor(devices), _Heard()
    settled = _QUIET + 3 * _every(devices)
    async with ground.mosquitto(folder / "broker") as broker, served(vendor) as url:
        requested_at = perf_counter()
        async with subscribed(broker, "#", heard.take), _bridge(folder, broker, url, devices) as bridge:
            await _announced(bridge, lambda: heard.states >= devices and perf_counter() - heard.described > settled)
            # The lines of each gateway are read once, call by call, and that would be measured with the readings.
            await _announced(bridge, lambda: vendor.lines_asked >= devices)
            figures.announced = heard.described - requested_at
            figures.rss = bridge.rss()
            meter = _Meter(vendor)
            await meter.take(bridge, 1)
            command = [sys.executable, str(Path(__file__).parent / "bare_poll.py"), url, str(_every(devices))]
            async with ground.program(command, folder / "bare.log") as bare:
                for _ in range(rounds):
                    figures.bare += (await meter.take(bare, 3))[1:]
                    await meter.take(bridge, 2)  # takes in what changed while the other one read
                    heard.states = 0
                    figures.bridge += (await meter.take(bridge, 3))[1:]
                    await asyncio.sleep(0.2)
                    figures.messages.append(round(heard.states / 3))
            bridge.process.send_signal(signal.SIGCONT)
    return figures


def _every(devices: int) -> float:
    return max(1.0, devices / DEVICES_A_SECOND)


@asynccontextmanager
async def _bridge(folder: Path, broker: int, url: str, devices: int) -> AsyncIterator[Program]:
    setup = bridges.Setup(folder=folder / "bridge", broker=broker, platform="ums", url=url, sources=bridges.UMS_SOURCES)
    setup.often = {"devices": _every(devices)}
    async with bridges.running(setup) as program:
        yield program


async def _announced(bridge: Program, there: Callable[[], bool]) -> None:
    """Wait until every device has been described, and nothing is to be added to it any more."""
    deadline = perf_counter() + _LONGEST
    while not there():
        if perf_counter() > deadline or not bridge.alive:
            raise BenchError(f"not all was announced:\n{bridge.words()}")
        await asyncio.sleep(0.5)
