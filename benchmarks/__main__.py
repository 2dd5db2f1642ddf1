"""`scripts/bench`: all measurements in one run, one table, written to docs/performance.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import alarms, bridges, cluster, cold, command, fleet, peers, polling, publishing, push, table
from benchmarks.ground import BenchError
from benchmarks.table import Line

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/performance.md"
PAGES = 20
"""Requests for a page of alarms."""
GOALS, REPEATED = ("push", "limits", "publishing", "commands", "cold", "alarms", "polls"), 5
"""The parts of `--goals`, and how many of them are measured in every run; the others only in the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Rounds, durations and numbers of messages, commands and devices of a run."""

    rounds: int
    seconds: float
    messages: int
    commands: int
    gateways: int
    devices: tuple[int, ...]
    fleets: tuple[fleet.Fleet, ...] = fleet.TINY
    held: tuple[tuple[str, int], ...] = ()
    paced: bool = False
    storm: int = 50_000
    listed: int = 10_000
    cold_rounds: int = 3
    runs: int = 1


SIZES = {
    "tiny": Size(rounds=1, seconds=0.3, messages=500, commands=3, gateways=2, devices=(20,), storm=100, listed=20),
    "quick": Size(
        rounds=3,
        seconds=2.5,
        messages=10_000,
        commands=50,
        gateways=200,
        devices=(100, 1_000, 10_000),
        fleets=fleet.QUICK,
    ),
    "full": Size(
        rounds=7,
        seconds=5.0,
        messages=40_000,
        commands=100,
        gateways=1_000,
        devices=(100, 1_000, 10_000, 50_000),
        fleets=fleet.FULL,
        held=fleet.MEMORY,
        paced=True,
    ),
    "goals": Size(
        rounds=9,
        seconds=1.5,
        messages=20_000,
        commands=50,
        gateways=1_000,
        devices=(10_000,),
        cold_rounds=1,
        runs=3,
    ),
}


def main() -> int:
    """Measure; 1 where a peer could not be installed or a measurement could not be made."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", dest="size", action="store_const", const="quick", default="full", help="minutes")
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny", help="to see that it runs")
    parser.add_argument(
        "--goals",
        dest="size",
        action="store_const",
        const="goals",
        help="what has a goal: three runs of all that is quick, the rest once; 10 minutes on a quiet machine",
    )
    parser.add_argument("--only", choices=MEASURE, action="append", help="measure this part; may be repeated")
    parser.add_argument("--runs", type=int, help="measure that many times, one run after the other")
    parser.add_argument("--no-peers", action="store_true", help="install and measure no peers")
    parser.add_argument("--no-write", action="store_true", help="print the table, and leave docs/performance.md alone")
    options = parser.parse_args()
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    size = SIZES[options.size]
    parts = options.only or (GOALS if options.size == "goals" else MEASURE)
    cache = peers.Peers(Path(os.environ.get("FLEET2MQTT_BENCH_CACHE", ROOT / ".bench")))
    missing = {} if options.no_peers or "push" not in parts else await cache.install()
    tables: dict[str, list[list[Line]]] = {table.BEGIN: [], table.FLEETS_BEGIN: []}
    failed = [f"not measured: {name}: {why}" for name, why in missing.items()]
    contestants = _contestants(cache, missing, options)
    for run in range(options.runs or size.runs):
        repeated = parts if run == 0 or options.runs else [part for part in parts if part in GOALS[:REPEATED]]
        for lines in tables.values():
            lines.append([])
        with tempfile.TemporaryDirectory(prefix="fleet2mqtt-bench-") as folder:
            for part in repeated:
                _say(f"measuring {part} …")
                begin = table.FLEETS_BEGIN if part == "fleet" else table.BEGIN
                try:
                    tables[begin][-1] += await MEASURE[part](Path(folder) / part, size, contestants)
                except (BenchError, TimeoutError) as error:
                    failed.append(f"not measured: {part}: {str(error) or type(error).__name__}")
    for begin, runs in tables.items():
        if any(runs) or (failed and begin == table.BEGIN):
            text = table.render(runs, [_about(options.size), *failed])
            _say(text)
            if not options.no_write:
                table.write(PAGE, text, begin)
    return 1 if failed else 0


def _contestants(cache: peers.Peers, missing: dict[str, str], options: argparse.Namespace) -> dict[str, push.Start]:
    found: dict[str, push.Start] = {table.BRIDGE: bridges.pushed, table.MANAGED: bridges.managed}
    if options.no_peers:
        return found
    if peers.RED not in missing:
        found[table.RED] = cache.node_red
    if peers.VENV not in missing:
        found |= {table.SCRIPT: cache.script, table.ECOWITT: cache.ecowitt}
    if options.size == "goals":
        found.pop(table.ECOWITT, None)  # it is far behind, and its messages arrive late
        return found
    return found | {peers.DURABLE: cache.durable}


async def _push(folder: Path, size: Size, contestants: dict[str, push.Start]) -> list[Line]:
    lines = table.of_push(await push.measure(contestants, folder, size.rounds, size.seconds))
    quiet = {
        name: await push.measure_quiet(contestants[name], folder / f"quiet-{number}", size.rounds, size.seconds)
        for number, name in enumerate((table.BRIDGE, table.MANAGED))
    }
    return lines + table.of_quiet(quiet)


async def _limits(folder: Path, size: Size, _: dict[str, push.Start]) -> list[Line]:
    found = await push.measure({"http": peers.Peers(folder).http}, folder, size.rounds, size.seconds)
    return table.of_http(found["http"])


async def _publishing(folder: Path, size: Size, _: dict[str, push.Start]) -> list[Line]:
    return table.of_publishing(await publishing.measure(folder, size.rounds, size.messages))


async def _commands(folder: Path, size: Size, _: dict[str, push.Start]) -> list[Line]:
    return table.of_commands(await command.measure(folder, size.rounds, size.commands))


async def _cold(folder: Path, size: Size, _: dict[str, push.Start]) -> list[Line]:
    found = await cold.measure(folder / "flood", size.gateways, min(size.rounds, size.cold_rounds))
    paced = await cold.measure(folder / "paced", size.gateways, 1, rate=100) if size.paced else None
    return table.of_cold(found, paced)


async def _alarms(folder: Path, size: Size, _: dict[str, push.Start]) -> list[Line]:
    return table.of_alarms(await alarms.measure(folder, size.storm, size.listed, PAGES))


async def _polls(folder: Path, size: Size, _: dict[str, push.Start]) -> list[Line]:
    # A reading of more than 10,000 takes seconds, and each round takes eight of them.
    rounds = {each: size.rounds if each <= 10_000 else min(size.rounds, 3) for each in size.devices}
    return table.of_polls([await polling.measure(folder / f"{each}", each, number) for each, number in rounds.items()])


async def _fleet(folder: Path, size: Size, _: dict[str, push.Start]) -> list[Line]:
    return table.of_fleets(*await fleet.run(folder, size.fleets, size.held))


async def _cluster(folder: Path, size: Size, _: dict[str, push.Start]) -> list[Line]:
    return table.of_cluster(await cluster.measure(folder, size.rounds, size.seconds))


MEASURE: dict[str, Callable[[Path, Size, dict[str, push.Start]], Awaitable[list[Line]]]] = {
    "push": _push,
    "limits": _limits,
    "publishing": _publishing,
    "commands": _commands,
    "cold": _cold,
    "alarms": _alarms,
    "polls": _polls,
    "fleet": _fleet,
    "cluster": _cluster,
}


def _about(size: str) -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {size} run, {os.cpu_count()} processors, load "
        f"{os.getloadavg()[0]:.1f} at the end, Python {platform.python_version()}, {platform.system()} "
        f"{platform.release()}"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
