"""Replay of a case folder: a server that responds with its files, and the connected platform.

`list.json` is the response of devices/list, `device_addMapping.json` of device/addMapping, and so on; `list.2.json` is
the second response, the last one repeats. They are bytes as a server sends them, so they need not be JSON.
`options.json` has options, `steps.json` the steps; without it every source that has a file is polled once:

    {"poll": "devices"}   {"action": "mapping_delete", "arguments": {…}}   {"set": ["<device>", "<key>", <value>]}

With steps, expected.json also has their responses and the requests that were made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from fleet2mqtt.platforms.smart_gateway.client import ARGS
from fleet2mqtt.platforms.smart_gateway.fields import requested_fields
from tests.platforms.replaying import Files, Platform, replay_case, run_in_new_loop
from tests.platforms.smart_gateway.connected import connected

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.devices.model import Device

_SOURCES = {"devices": "list", "details": "query", "mappings": "mapping_list"}


def replay(folder: Path) -> dict[str, Any]:
    """Return the output of a case: devices, complete inventories and, with steps, responses and requests."""
    files = Files(folder)
    platform = Platform(sources=_SOURCES, connected=connected, device=_device)
    return run_in_new_loop(replay_case(platform, files, _Server(files).respond))


@dataclass(slots=True)
class _Server:
    files: Files

    async def respond(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/v1/")
        body = await request.read()
        self.files.requests.append(
            {"call": f"{request.method} {path}", "body": _abbreviated(json.loads(body)) if body else None}
        )
        name = path.removeprefix("devices/").replace("/", "_")
        return self.files.respond(name)


_DEFAULT = requested_fields(lambda _: True, queries_all=True, channels=True, rules=True)
_ABBREVIATIONS = (
    (ARGS, "everything but charts"),
    (_DEFAULT.listed, "what the list is polled for"),
    (_DEFAULT.queried, "what details are polled for"),
)


def _abbreviated(body: dict[str, Any]) -> dict[str, Any]:
    text = next((text for args, text in _ABBREVIATIONS if body.get("args") == args), None)
    return body if text is None else body | {"args": text}


def _device(device: Device) -> dict[str, Any]:
    shown = {"name": device.name, "available": device.available, "via": device.via, "state": dict(device.state)}
    attributes = {key: values for key, values in device.attributes.items() if key != "usage_month"}  # the present time
    optional = {"model": device.model, "sw_version": device.sw_version, "attributes": attributes}
    secret = [entity.key for entity in device.entities if entity.secret]
    return shown | {key: value for key, value in (optional | {"write_only": secret}).items() if value}
