"""Time that the bridge adds to a command: from `set` to its result, beside the vendor calls alone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp

from benchmarks import bridges, ground
from benchmarks.cold import SOURCES
from benchmarks.ground import BenchError
from benchmarks.mqtt import Messages, subscribed

SN = "172DE6AC9832DE"
DEVICE = "hq_172de6ac9832de_channel_0"
_SET = f"fleet2mqtt/device/{DEVICE}/set"


@dataclass(slots=True)
class Figures:
    """Seconds, a value a command."""

    bridge: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Results:
    """Results by transaction."""

    waiting: dict[str, asyncio.Future[str]] = field(default_factory=dict)
    known: asyncio.Event = field(default_factory=asyncio.Event)

    def got(self, topic: str, payload: bytes, _: bool) -> None:  # noqa: FBT001 - as Messages calls it
        """One message."""
        if topic.endswith("/state"):
            self.known.set()
        elif topic.endswith("/result"):
            result = json.loads(payload)
            self.waiting.pop(result["transaction"]).set_result(result["status"])


async def measure(folder: Path, rounds: int, commands: int) -> Figures:
    """Some commands by the bridge, then as many straight to the vendor, in turns."""
    figures, results = Figures(), _Results()
    async with (
        ground.mosquitto(folder / "broker", prompt=True) as broker,
        bridges.simulator(folder, "smart_gateway", 2) as url,
        subscribed(broker, f"fleet2mqtt/device/{DEVICE}/+", Messages(results.got)) as client,
        bridges.running(
            bridges.Setup(folder=folder / "bridge", broker=broker, platform="smart_gateway", url=url, sources=SOURCES)
        ),
        aiohttp.ClientSession() as session,
    ):
        async with asyncio.timeout(30):
            await results.known.wait()
        for number in range(rounds * commands):
            transaction = f"t{number}"
            done = results.waiting[transaction] = asyncio.get_running_loop().create_future()
            requested_at = perf_counter()
            client.publish(_SET, json.dumps({"enable": _word(number), "transaction": transaction}).encode())
            async with asyncio.timeout(30):
                status = await done
            figures.bridge.append(perf_counter() - requested_at)
            if status != "confirmed":
                raise BenchError(f"a command ended {status}")
            figures.bare.append(await _bare(session, url, number))
    return figures


def _word(number: int) -> str:
    return "OFF" if number % 2 else "ON"


async def _bare(session: aiohttp.ClientSession, url: str, number: int) -> float:
    """The same write and the same read-back."""
    requested_at = perf_counter()
    change = {SN: {"channel": {"0": {"enable": 1 - number % 2}}}}
    await _call(session, f"{url}/api/v1/devices/set", {"devices": change})
    found = await _call(session, f"{url}/api/v1/devices/query", {"sns": [SN], "args": {"base": [], "channel": []}})
    if found["devices"][SN]["channel"]["0"]["enable"] != 1 - number % 2:
        raise BenchError("the vendor did not do it")
    return perf_counter() - requested_at


async def _call(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(url, json=body) as response:
        reply: dict[str, Any] = json.loads(await response.read())
    if reply["code"] != 0:
        raise BenchError(f"the vendor refuses: {reply}")
    return reply
