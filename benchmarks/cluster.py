"""Alarms stored a second: in PostgreSQL with a synchronous standby, by one node and by two, beside SQLite."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.ground import BenchError
from benchmarks.publishing import printed

START = 4.0
"""Seconds from the start of two processes until both measure."""


@dataclass(slots=True)
class Rates:
    """Alarms a second, and milliseconds of an alarm, a value a round."""

    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def record(self, *found: dict[str, float]) -> None:
        """Record a round: the sum of the rates of all nodes, the slowest node's milliseconds."""
        self.rate.append(sum(each["rate"] for each in found))
        self.p50.append(max(each["p50"] for each in found))
        self.p99.append(max(each["p99"] for each in found))


@dataclass(slots=True)
class Figures:
    """Each engine, in turns."""

    sqlite: Rates = field(default_factory=Rates)
    one_node: Rates = field(default_factory=Rates)
    two_nodes: Rates = field(default_factory=Rates)


async def measure(folder: Path, rounds: int, seconds: float) -> Figures:
    """Measure SQLite, one node, and two nodes in turns, on one machine, which the servers share with them."""
    from tests.postgres import Servers  # noqa: PLC0415 - psycopg, which the other parts do not need

    figures = Figures()
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    try:
        with Servers(count=2, on_disk=True) as servers:
            for number in range(rounds):
                figures.sqlite.record(await _load("sqlite", str(folder / f"{number}.sqlite"), seconds))
                figures.one_node.record(await _load("postgres", servers.create_database(), seconds))
                dsn, begin = servers.create_database(), time.time() + START
                found = await asyncio.gather(*(_load("postgres", dsn, seconds, begin) for _ in range(2)))
                figures.two_nodes.record(*found)
    except FileNotFoundError as error:
        raise BenchError(str(error)) from error
    return figures


async def _load(engine: str, where: str, seconds: float, begin: float = 0.0) -> dict[str, float]:
    return await printed("-m", "benchmarks.outbox_load", engine, where, str(seconds), str(begin))
