"""Every platform's simulator and the bridge, as processes on Home Assistant's broker."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from fleet2mqtt.cli.simulate import options_for
from tests.broker import HOST, Broker, free_port
from tests.process import BRIDGE, Process, running
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PLATFORMS = ("omstation", "sangfor_ac", "smart_gateway", "thingscloud", "ums")
SECRET = "home-assistant"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The simulators' URLs by platform, and the running bridge."""

    urls: dict[str, str]
    bridge: Process

    async def steer(self, platform: str, path: str, body: Any) -> None:
        """Change a simulated vendor: `path` below /_sim/."""
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self.urls[platform]}/_sim/{path}", json=body)).raise_for_status()

    async def vendor_state(self, platform: str) -> Any:
        """Return the state of a platform's simulator."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.urls[platform]}/_sim/state") as answer:
            return await answer.json()


@asynccontextmanager
async def fleet(
    broker: Broker, folder: Path, language: str = "en", base_topic: str = "fleet2mqtt"
) -> AsyncIterator[Fleet]:
    """Run it all; the entities' names are in `language`."""
    push, urls = free_port(), {name: f"http://{HOST}:{free_port()}" for name in PLATFORMS}
    backends = {
        name: {"platform": name, "url": url, "timeout": PATIENCE, "push": {"secret": SECRET}, **options_for(name)}
        for name, url in urls.items()
    }
    enabled = ("events_total", "alarms_total")  # else their sources are not polled
    backends["ums"]["overrides"] = {key: {"enabled": True} for key in enabled}
    backends["smart_gateway"]["allow"] = ["device_delete", "mapping_delete"]
    written = {
        "mqtt": {"host": HOST, "port": broker.port},
        "base_topic": base_topic,
        "language": language,
        "push": {"host": HOST, "port": push},
        "web": {"host": HOST, "port": 0},
        "backends": backends,
    }
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(written))
    async with AsyncExitStack() as stack:
        for name, url in urls.items():
            simulated = ("simulate", name, "--still", "--port", url.rpartition(":")[2])
            pushed = ("--push", f"http://{HOST}:{push}/push/{name}/{SECRET}")
            simulator = await stack.enter_async_context(running(*BRIDGE, *simulated, *pushed, measured=False))
            await simulator.says("simulator on")
        bridge = await stack.enter_async_context(running(*BRIDGE, "run", "-c", str(path), measured=False))
        await bridge.says("connected to")
        yield Fleet(urls, bridge)
