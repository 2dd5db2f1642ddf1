"""Four vendors' simulators, and a bridge that comes and goes: what the integration is tried on."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.broker import HOST, Broker, free_port
from tests.process import BRIDGE, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = "integration"
GATEWAY, MAC, THING = "172DE6AC9832DE", "000EA93D022E", "k3v8q2mzpw"
BACKENDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "voip": ("ums", (f"push: {{secret: {SECRET}}}", "alarms: {recovers: [{raised: 77, by: 78}]}")),
    "branch": ("smart_gateway", ("allow: [mapping_delete, device_delete]", "scan_interval: {devices: 1, details: 1}")),
    "ac": ("sangfor_ac", ("key: fleet2mqtt-sim", "spacing: 0", "allow: [user_logout, user_binding_delete]")),
    "things": (
        "thingscloud",
        ("app_id: app-demo", "access_key: demo-access-key", "secret_key: demo-secret-key", "rate: 1000"),
    ),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """The vendors' URLs by backend, and the bridge's configuration."""

    urls: dict[str, str]
    config: Path

    async def steer(self, backend: str, path: str, body: Any) -> None:
        """Change a simulated vendor: `path` below /_sim/."""
        async with aiohttp.ClientSession() as session:
            (await session.post(f"{self.urls[backend]}/_sim/{path}", json=body)).raise_for_status()

    @asynccontextmanager
    async def bridge(self) -> AsyncIterator[None]:
        """The bridge, as long as this lasts; what it has kept is there again the next time."""
        async with running(*BRIDGE, "run", "-c", str(self.config), measured=False) as process:
            await process.says("connected to")
            yield


@asynccontextmanager
async def bench(broker: Broker, folder: Path) -> AsyncIterator[Bench]:
    """The simulators, running."""
    push, urls = free_port(), {name: f"http://{HOST}:{free_port()}" for name in BACKENDS}
    lines = [f"mqtt: {{host: {HOST}, port: {broker.port}}}", f"push: {{host: {HOST}, port: {push}}}"]
    lines += [f"web: {{host: {HOST}, port: 0}}", "backends:"]
    for name, (platform, options) in BACKENDS.items():
        lines += [f"  {name}:", f"    platform: {platform}", f"    url: {urls[name]}"]
        lines += [f"    {option}" for option in options]
    config = folder / "bench.yaml"
    config.write_text("\n".join(lines))
    async with AsyncExitStack() as stack:
        for name, (platform, _) in BACKENDS.items():
            simulated = ("simulate", platform, "--still", "--port", urls[name].rpartition(":")[2])
            pushed = ("--push", f"http://{HOST}:{push}/push/{name}/{SECRET}")
            simulator = await stack.enter_async_context(running(*BRIDGE, *simulated, *pushed, measured=False))
            await simulator.says("simulator on")
        yield Bench(urls, config)
