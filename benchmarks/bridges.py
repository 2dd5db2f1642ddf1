"""The bridge as a program, configured for a measurement."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import ground
from benchmarks.ground import HOST, Program
from benchmarks.load import Door
from benchmarks.peers import Running, alarm

SECRET = "bench-secret"  # noqa: S105 - made up
RARELY = 86_400
READY = "connected to"
PUSHES = f"/push/hq/{SECRET}/event"
EVENTS = "fleet2mqtt/alarm/event/#"


@dataclass(slots=True, kw_only=True)
class Setup:
    """Configuration of a bridge besides the ports."""

    folder: Path
    broker: int
    platform: str
    url: str
    sources: Sequence[str]
    rate: float = 100_000
    options: dict[str, Any] = field(default_factory=dict)
    often: dict[str, float] = field(default_factory=dict)
    """Sources that are polled again and again: seconds between two polls."""
    more: dict[str, Any] = field(default_factory=dict)
    """Other parts of the configuration."""
    push: int = field(default_factory=ground.free_port)
    web: int = field(default_factory=ground.free_port)

    def write(self) -> Path:
        """The configuration file. Each source is polled once, then only when it is asked for."""
        backend = {"platform": self.platform, "url": self.url, **self.options}
        backend["scan_interval"] = dict.fromkeys(self.sources, RARELY) | self.often
        if self.platform == "ums":
            backend["push"] = {"secret": SECRET}
        content = {
            # The one before ended by a signal, and its will is delayed.
            "mqtt": {"host": HOST, "port": self.broker, "discovery_rate": self.rate, "take_over": True},
            "data_dir": str(self.folder / "data"),
            "push": {"host": HOST, "port": self.push},
            "web": {"host": HOST, "port": self.web},
            "backends": {"hq": backend},
            **self.more,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "bridge.yaml"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path


UMS_SOURCES = ("devices", "alarms", "lines", "status", "statistics", "events")


@asynccontextmanager
async def running(setup: Setup, python: Sequence[str] = (sys.executable,)) -> AsyncIterator[Program]:
    """A bridge that is connected to its broker."""
    command = [*python, "-m", "fleet2mqtt", "run", "-c", str(setup.write())]
    async with ground.program(command, setup.folder / "log") as program:
        await ground.says(program, READY)
        yield program


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


@asynccontextmanager
async def simulator(folder: Path, platform: str, devices: int) -> AsyncIterator[str]:
    """Run a platform's simulator in which nothing happens by itself; yield its URL."""
    port = ground.free_port()
    _make(folder)
    options = ["simulate", platform, "--port", str(port), "--devices", str(devices), "--still"]
    async with ground.program([sys.executable, "-m", "fleet2mqtt", *options], folder / "simulator.log") as program:
        await ground.listening(program, port)
        yield f"http://{HOST}:{port}"


@asynccontextmanager
async def pushed(folder: Path, broker: int) -> AsyncIterator[Running]:
    """A bridge that takes the alarms of a UMS and keeps them on disk until the broker has them."""
    async with simulator(folder, "ums", 2) as url:
        setup = Setup(folder=folder / "bridge", broker=broker, platform="ums", url=url, sources=UMS_SOURCES)
        async with running(setup) as program:
            await ground.listening(program, setup.push)
            yield Running(program=program, door=Door(port=setup.push, path=PUSHES, topic=EVENTS, body=alarm))


@asynccontextmanager
async def managed(folder: Path, broker: int) -> AsyncIterator[Running]:
    """A bridge that besides applies rules to those alarms, evaluates conditions and notifies: all that can be enabled.

    None of the rules lets an alarm stand, as that would be published as another message.
    """
    sink = ground.free_port()
    _make(folder)
    command = [sys.executable, str(Path(__file__).parent / "bare_http.py"), str(sink)]
    async with ground.program(command, folder / "sink.log") as receiver, simulator(folder, "ums", 2) as url:
        await ground.listening(receiver, sink)
        rules = {
            "severity": {33: "major"},
            "texts": {33: {"en": "IP extension offline", "zh-Hans": "IP 分机离线"}},
            "recovers": [{"raised": 7, "by": 8}],
            "clear_after": {7: 86_400},
            "ignore": [9],
        }
        target = {"url": f"json://{HOST}:{sink}/", "escalate_after": 900, "include": [{"id": "hq*"}]}
        setup = Setup(folder=folder / "bridge", broker=broker, platform="ums", url=url, sources=UMS_SOURCES)
        setup.options, setup.more = {"alarms": rules}, {"notify": {"duty": target}}
        async with running(setup) as program:
            await ground.listening(program, setup.push)
            yield Running(program=program, door=Door(port=setup.push, path=PUSHES, topic=EVENTS, body=alarm))
