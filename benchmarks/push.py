"""Push → MQTT at 32 connections: the bridge, which keeps each alarm on disk, and peers, which keep nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import ground, load
from benchmarks.load import median, quantile
from benchmarks.peers import Running

CONNECTIONS = 32
WARM_UP = 1.5
STEADY = 500

Start = Callable[[Path, int], AbstractAsyncContextManager[Running]]


@dataclass(slots=True)
class Figures:
    """Figures of one contestant, a value a round."""

    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)


async def measure(contestants: dict[str, Start], folder: Path, rounds: int, seconds: float) -> dict[str, Figures]:
    """Let them run one after the other, round after round, each alone on the machine."""
    found = {name: Figures() for name in contestants}
    async with ground.mosquitto(folder / "broker", prompt=True) as broker:
        for number in range(rounds):
            for name, start in contestants.items():
                place = folder / f"{number}-{name.split()[0]}"
                async with start(place, broker) as running:
                    await _round(running, broker, seconds, found[name])
                shutil.rmtree(place, ignore_errors=True)
    return found


@dataclass(slots=True, kw_only=True)
class Quiet:
    """Milliseconds at p99 where there is little to do, a value a round."""

    alone: list[float] = field(default_factory=list)
    """One connection, one alarm after another."""
    steady: list[float] = field(default_factory=list)
    """STEADY alarms a second on all connections together."""


async def measure_quiet(start: Start, folder: Path, rounds: int, seconds: float) -> Quiet:
    """Measure one contestant without a flood."""
    found = Quiet()
    async with ground.mosquitto(folder / "broker", prompt=True) as broker, start(folder / "quiet", broker) as running:
        await load.post(running.door, broker, CONNECTIONS, min(WARM_UP, seconds), first=0)
        for number in range(rounds):
            first = (2 * number + 1) * 1_000_000
            run = await load.post(running.door, broker, 1, seconds, first)
            found.alone.append(quantile(run.latencies(), 0.99) * 1e3)
            run = await load.post(running.door, broker, CONNECTIONS, seconds, first + 1_000_000, 1 / STEADY)
            found.steady.append(quantile(run.latencies(), 0.99) * 1e3)
    return found


async def _round(running: Running, broker: int, seconds: float, figures: Figures) -> None:
    await load.post(running.door, broker, CONNECTIONS, min(WARM_UP, seconds), first=0)
    before = running.program.cpu()
    run = await load.post(running.door, broker, CONNECTIONS, seconds, first=50_000_000)
    latencies = run.latencies()
    figures.rate.append(run.rate())
    figures.accepted.append(run.answered / seconds)
    figures.p50.append(quantile(latencies, 0.5) * 1e3)
    figures.p99.append(quantile(latencies, 0.99) * 1e3)
    figures.cpu.append((running.program.cpu() - before) / max(run.answered, 1) * 1e3)
    figures.rss.append(running.program.rss() / 2**20)


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios, round by round: both had the same neighbours."""
    return median([our / their for our, their in zip(ours, theirs, strict=True) if their])
