"""A case folder put through the platform: a server that answers with its files, and connect() in front of it.

`list.json` answers devices/list, `device_addMapping.json` device/addMapping, and so on; `list.2.json` is the second
answer, the last one repeats. They are bytes as a server would send them, so they need not be JSON. `options.json` holds
options; `steps.json` says what happens, by default every source that has an answer is polled:

    {"poll": "devices"}   {"action": "mapping_delete", "arguments": {…}}   {"set": ["<device>", "<key>", <value>]}

With steps, expected.json also has what they answered and the requests that were made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from fleet2mqtt.platforms.smart_gateway.client import ARGS
from tests.platforms.replaying import Files, Platform, replay_case, run_in_new_loop
from tests.platforms.smart_gateway.connected import connected

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.devices.model import Device

_SOURCES = {"devices": "list", "details": "query", "mappings": "mapping_list"}


def replay(folder: Path) -> dict[str, Any]:
    """What came of a case: devices, complete inventories and, with steps, answers and requests."""
    files = Files(folder)
    platform = Platform(sources=_SOURCES, connected=connected, device=_device)
    return run_in_new_loop(replay_case(platform, files, _Server(files).answer))


@dataclass(slots=True)
class _Server:
    files: Files

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/v1/")
        body = await request.read()
        self.files.requests.append(
            {"call": f"{request.method} {path}", "body": _told(json.loads(body)) if body else None}
        )
        name = path.removeprefix("devices/").replace("/", "_")
        return self.files.respond(name)


def _told(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"args": "everything but charts"} if body.get("args") == ARGS else body


def _device(device: Device) -> dict[str, Any]:
    told = {"name": device.name, "available": device.available, "via": device.via, "state": dict(device.state)}
    optional = {"model": device.model, "sw_version": device.sw_version, "attributes": dict(device.attributes)}
    secret = [row.key for row in device.entities if row.secret]
    return told | {key: value for key, value in (optional | {"write_only": secret}).items() if value}
