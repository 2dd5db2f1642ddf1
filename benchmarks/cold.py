"""A cold start: so many gateways with six channels each, from nothing until the broker has everything."""

from __future__ import annotations

import asyncio
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from benchmarks import bridges, ground, publishing
from benchmarks.ground import BenchError
from benchmarks.mqtt import Messages, subscribed

SOURCES = ("devices", "details", "mappings")
_QUIET = 4.0
"""Seconds without a message after which all has been said; health comes every 60 s."""
_LONGEST = 600.0
_GATEWAY = "_hq_"  # in the discovery topic of all that the vendor listed, which waits for the first round of polls


@dataclass(slots=True, kw_only=True)
class Figures:
    """Seconds by round: from the process's start, from the first description, and of a bare paho loop."""

    gateways: int
    whole: list[float] = field(default_factory=list)
    flood: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    devices: int = 0
    entities: int = 0
    messages: int = 0
    size: int = 0
    rss: list[int] = field(default_factory=list)
    rss_empty: int = 0

    @property
    def rss_per_entity(self) -> float:
        """Bytes beyond those of a bridge with one gateway."""
        return (statistics.median(self.rss) - self.rss_empty) / max(self.entities, 1)


@dataclass(slots=True)
class _Heard:
    """Messages that a subscriber received, with their times."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    first: float | None = None
    last: float = 0.0

    def got(self, topic: str, payload: bytes, _: bool) -> None:  # noqa: FBT001 - as Messages calls it
        """One message."""
        if topic.endswith(("/config", "/state", "/attributes", "/availability")):
            self.last = perf_counter()
            if self.first is None and _GATEWAY in topic and topic.endswith("/config"):
                self.first = self.last
            self.messages.append((topic, payload))

    async def quiet(self) -> None:
        """Wait until nothing has come for a while."""
        deadline = perf_counter() + _LONGEST
        while self.first is None or perf_counter() - self.last < _QUIET:
            await asyncio.sleep(0.1)
            if perf_counter() > deadline:
                raise BenchError(f"no end after {len(self.messages)} messages")


async def measure(folder: Path, gateways: int, rounds: int, rate: float = 100_000) -> Figures:
    """Bridge and bare loop in turns, each with a broker of its own."""
    figures = Figures(gateways=gateways)
    async with bridges.simulator(folder, "smart_gateway", 1) as url:
        figures.rss_empty, _ = await _start(folder / "empty", url, rate, Figures(gateways=1))
    async with bridges.simulator(folder, "smart_gateway", gateways) as url:
        for number in range(rounds):
            place = folder / f"{number}"
            rss, heard = await _start(place, url, rate, figures)
            figures.rss.append(rss)
            _count(figures, heard)
            await _bare(place, heard, figures)
    return figures


async def _start(folder: Path, url: str, rate: float, figures: Figures) -> tuple[int, _Heard]:
    heard = _Heard()
    async with ground.mosquitto(folder / "broker") as broker, subscribed(broker, "#", Messages(heard.got)):
        setup = bridges.Setup(
            folder=folder / "bridge", broker=broker, platform="smart_gateway", url=url, sources=SOURCES, rate=rate
        )
        requested_at = perf_counter()
        async with bridges.running(setup) as program:
            await heard.quiet()
            figures.whole.append(heard.last - requested_at)
            figures.flood.append(heard.last - (heard.first or requested_at))
            return program.rss(), heard


async def _bare(folder: Path, heard: _Heard, figures: Figures) -> None:
    """The same messages again, by paho alone, with the subscriber that the bridge has."""
    path = folder / "messages"
    lines = (json.dumps([topic, payload.decode(), True]) for topic, payload in heard.messages)
    path.write_text("\n".join(lines), encoding="utf-8")
    subscriber = Messages(_Heard().got)
    async with ground.mosquitto(folder / "bare") as broker, subscribed(broker, "#", subscriber):
        figures.bare.append((await publishing.bare_paho(broker, str(path)))["seconds"])
    path.unlink()


def _count(figures: Figures, heard: _Heard) -> None:
    configs = dict(message for message in heard.messages if message[0].endswith("/config"))
    figures.devices = len(configs)
    figures.entities = sum(len(json.loads(payload)["components"]) for payload in configs.values())
    figures.messages = len(heard.messages)
    figures.size = sum(len(payload) for _, payload in heard.messages)
