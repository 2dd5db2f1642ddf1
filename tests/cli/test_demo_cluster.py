"""`fleet2mqtt demo --cluster`, with the processes killed that it names."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

from tests.broker import Broker, free_port
from tests.process import BRIDGE, running
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.recording import Recording


async def test_demo_cluster_survives_what_it_says_to_kill(tmp_path: Path) -> None:
    port = free_port()
    async with running(*BRIDGE, "demo", "--cluster", "--port", str(port), "--devices", "1", measured=False) as demo:
        await demo.says("who owns which unit")
        nodes = dict(re.findall(r"kill -9 (\d+) +node (\w)", demo.output))
        primary = int(re.findall(r"kill -9 (\d+) +the primary", demo.output)[0])
        assert sorted(nodes.values()) == ["a", "b", "c"]
        async with Broker(directory=tmp_path, port=port).record("fleet2mqtt/#") as seen:
            first = await owner(seen, set())
            os.kill(next(int(number) for number, name in nodes.items() if name == first), signal.SIGKILL)
            await owner(seen, {first})
            await demo.says(f"node {first} has ended")
            os.kill(primary, signal.SIGKILL)
            await demo.says("is promoted")
            count = len(seen.all("fleet2mqtt/alarm/event/#"))
            await wait_until(lambda: len(seen.all("fleet2mqtt/alarm/event/#")) > count, "an alarm after the promotion")
            await owner(seen, {first})  # perhaps another one: a promotion may take longer than a lease lasts
        demo.process.send_signal(signal.SIGINT)
        assert await demo.ends() == 0


async def owner(seen: Recording, others: set[str]) -> str:
    """Wait until a node owns the unit that is none of `others`; return its name."""

    def found() -> str | None:
        message = seen.latest("fleet2mqtt/bridge/health")
        nodes = message.json.get("nodes", {}) if message and message.payload else {}
        names = [name for name, node in nodes.items() if node["owner"] and name not in others]
        return names[0] if names else None

    return await wait_until(found, f"an owner that is none of {others}")
