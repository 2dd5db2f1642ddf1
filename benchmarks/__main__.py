"""`scripts/bench`: all measurements in one run, one table, written to docs/performance.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import bridges, cold, command, fleet, peers, polling, publishing, push, table
from benchmarks.ground import BenchError
from benchmarks.table import Line

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/performance.md"
PARTS = ("push", "publishing", "commands", "cold", "polls", "fleet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything."""

    rounds: int
    seconds: float
    messages: int
    commands: int
    gateways: int
    devices: tuple[int, ...]
    fleets: tuple[fleet.Fleet, ...] = fleet.TINY
    held: tuple[tuple[str, int], ...] = ()
    paced: bool = False


SIZES = {
    "tiny": Size(rounds=1, seconds=0.3, messages=500, commands=3, gateways=2, devices=(20,)),
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
}


def main() -> int:
    """Measure; 1 where a peer could not be installed or a measurement could not be made."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", dest="size", action="store_const", const="quick", default="full", help="minutes")
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny", help="to see that it runs")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part; may be repeated")
    parser.add_argument("--no-peers", action="store_true", help="install and measure no peers")
    parser.add_argument("--no-write", action="store_true", help="print the table, and leave docs/performance.md alone")
    options = parser.parse_args()
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    size, parts = SIZES[options.size], options.only or PARTS
    cache = peers.Peers(Path(os.environ.get("FLEET2MQTT_BENCH_CACHE", ROOT / ".bench")))
    missing = {} if options.no_peers or "push" not in parts else await cache.install()
    lines: dict[str, list[Line]] = {table.BEGIN: [], table.FLEETS_BEGIN: []}
    failed = [f"not measured: {name}: {why}" for name, why in missing.items()]
    with tempfile.TemporaryDirectory(prefix="fleet2mqtt-bench-") as folder:
        for part in parts:
            _say(f"measuring {part} …")
            try:
                lines[table.FLEETS_BEGIN if part == "fleet" else table.BEGIN] += await _measure(
                    part, Path(folder) / part, size, _contestants(cache, missing, options)
                )
            except (BenchError, TimeoutError) as error:
                failed.append(f"not measured: {part}: {str(error) or type(error).__name__}")
    for begin, measured in lines.items():
        if measured or (failed and begin == table.BEGIN):
            text = table.render(measured, [_about(options.size), *failed])
            _say(text)
            if not options.no_write:
                table.write(PAGE, text, begin)
    return 1 if failed else 0


def _contestants(cache: peers.Peers, missing: dict[str, str], options: argparse.Namespace) -> dict[str, push.Start]:
    found: dict[str, push.Start] = {table.BRIDGE: bridges.pushed}
    if options.no_peers:
        return found
    if peers.RED not in missing:
        found[table.RED] = cache.node_red
    if peers.VENV not in missing:
        found |= {table.SCRIPT: cache.script, table.ECOWITT: cache.ecowitt}
    return found


async def _measure(part: str, folder: Path, size: Size, contestants: dict[str, push.Start]) -> list[Line]:
    match part:
        case "push":
            lines = table.of_push(await push.measure(contestants, folder, size.rounds, size.seconds))
            quiet = await push.measure_quiet(contestants[table.BRIDGE], folder / "quiet", size.rounds, size.seconds)
            return lines + table.of_quiet(quiet)
        case "publishing":
            return table.of_publishing(await publishing.measure(folder, size.rounds, size.messages))
        case "commands":
            return table.of_commands(await command.measure(folder, size.rounds, size.commands))
        case "cold":
            found = await cold.measure(folder / "flood", size.gateways, min(size.rounds, 3))
            paced = await cold.measure(folder / "paced", size.gateways, 1, rate=100) if size.paced else None
            return table.of_cold(found, paced)
        case "fleet":
            return table.of_fleets(*await fleet.run(folder, size.fleets, size.held))
        case _:
            # A reading of more than 10,000 takes seconds, and each round takes eight of them.
            rounds = {each: size.rounds if each <= 10_000 else min(size.rounds, 3) for each in size.devices}
            return table.of_polls(
                [await polling.measure(folder / f"{each}", each, number) for each, number in rounds.items()]
            )


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
