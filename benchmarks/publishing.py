"""Messages a second at QoS 1: the bridge's MQTT client and a bare socket beside a bare paho loop."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import ground
from benchmarks.ground import BenchError
from benchmarks.mqtt import draining

WINDOW = 64  # as the bridge has it
_HERE = Path(__file__).parent


@dataclass(slots=True)
class Figures:
    """Messages a second and microseconds of processor each, a value a round."""

    bridge: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    bridge_cpu: list[float] = field(default_factory=list)
    bare_cpu: list[float] = field(default_factory=list)
    socket: list[float] = field(default_factory=list)
    """Of packets made beforehand: what the broker takes."""
    socket_cpu: list[float] = field(default_factory=list)


async def measure(folder: Path, rounds: int, count: int) -> Figures:
    """The one and the other in turns, with a subscriber, as there is one to every event."""
    figures = Figures()
    async with ground.mosquitto(folder / "broker") as broker:
        with draining(broker, "bare/#"):
            for _ in range(rounds):
                said = await printed("-m", "benchmarks.bare_mqtt", str(broker), str(count))
                figures.bridge.append(count / said["seconds"])
                figures.bridge_cpu.append(said["cpu"] / count * 1e6)
                said = await bare_paho(broker, str(count))
                figures.bare.append(count / said["seconds"])
                figures.bare_cpu.append(said["cpu"] / count * 1e6)
                said = await printed(str(_HERE / "bare_socket.py"), str(broker), str(WINDOW), str(count))
                figures.socket.append(count / said["seconds"])
                figures.socket_cpu.append(said["cpu"] / count * 1e6)
    return figures


async def bare_paho(broker: int, source: str) -> dict[str, float]:
    """Measure a bare paho loop that publishes these messages."""
    return await printed(str(_HERE / "bare_paho.py"), str(broker), str(WINDOW), source)


async def printed(*arguments: str) -> dict[str, float]:
    """Run a Python program; return the JSON that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, cwd=_HERE.parent
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise BenchError(f"{arguments[0]} failed with {process.returncode}")
    found: dict[str, float] = json.loads(output)
    return found
