"""Replay of a case folder: a server that responds with its files, and the connected platform.

`devices.json` is the response of `GET /api/devices`, `device_reading.json` of `GET /api/device/reading`, and so on;
`devices.2.json` is the second response, the last one repeats. They are bytes as a server sends them, so they need not
be JSON. `options.json` has options, `steps.json` the steps; without it every source that has a file is polled once:

    {"poll": "devices"}   {"action": "relay_restart", "arguments": {…}}   {"set": ["<device>", "<key>", <value>]}

With steps, expected.json also has their responses and the requests that were made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.platforms._template.connected import connected
from tests.platforms.replaying import Files, Platform, replay_case, run_in_new_loop

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.devices.model import Device

_SOURCES = {"devices": "devices", "readings": "device_reading"}


def replay(folder: Path) -> dict[str, Any]:
    """Return the output of a case: devices, complete inventories and, with steps, responses and requests."""
    files = Files(folder)
    platform = Platform(sources=_SOURCES, connected=connected, device=_device)
    return run_in_new_loop(replay_case(platform, files, _Server(files).respond))


@dataclass(slots=True)
class _Server:
    files: Files

    async def respond(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/")
        self.files.requests.append({"call": f"{request.method} {path}", "body": await request.text()})
        return self.files.respond(path.replace("/", "_"))


def _device(device: Device) -> dict[str, Any]:
    shown = {"name": device.name, "available": device.available, "state": dict(device.state)}
    optional = {"model": device.model, "sw_version": device.sw_version, "attributes": dict(device.attributes)}
    return shown | {key: value for key, value in optional.items() if value}
