"""Replay of a case folder: a server that responds with its files, and the platform connected to it.

Files are named by the call: `GET_policy_netpolicy.json`, `DELETE_group.json` for POST group?_method=DELETE, and so on;
`….2.json` is the second response, the last one repeats; a call without a file is 404. They are sent as they are, so
they need not be JSON. `options.json` holds options; `steps.json` lists what is done:

    {"poll": "status"}   {"action": "group_delete", "arguments": {…}}   {"set": ["<device>", "<key>", <value>]}

Without steps the sources that have a response are polled. With them expected.json also has their results and the
requests that were made, without their signatures.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.platforms.replaying import Files, Platform, replay_case, run_in_new_loop
from tests.platforms.sangfor_ac.connected import KEY, connected

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.devices.model import Device

_SOURCES = {
    "status": "GET_status_*",
    "online_users": "GET_online-users",
    "policies": "GET_policy_*",
    "groups": "GET_group_netpolicy",
    "bindings": "GET_bindinfo_*",
    "users": "GET_user",
}


def replay(folder: Path) -> dict[str, Any]:
    """Return the output of a case: devices, complete inventories and, with steps, results and requests."""
    files = Files(folder)
    platform = Platform(sources=_SOURCES, connected=connected, device=_device)
    return run_in_new_loop(replay_case(platform, files, _Server(files).answer))


@dataclass(slots=True)
class _Server:
    files: Files

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/v1/")
        query = dict(request.query)
        body = await request.json() if request.method == "POST" else None
        signed = query if body is None else body
        assert _signed(signed)
        described = {"call": f"{request.method} {path}", "query": query, "body": body}
        self.files.requests.append({name: value for name, value in described.items() if value})
        name = f"{query.get('_method', request.method)}_{path.replace('/', '_')}"
        return self.files.respond(name)


def _signed(fields: dict[str, Any]) -> bool:
    """Return True if the signature is right, and remove it."""
    random, md5 = fields.pop("random"), fields.pop("md5")
    return bool(md5 == hashlib.md5(f"{KEY}{random}".encode()).hexdigest())  # noqa: S324 - the vendor's


def _device(device: Device) -> dict[str, Any]:
    described = {"name": device.name, "available": device.available, "via": device.via, "state": dict(device.state)}
    optional = {"sw_version": device.sw_version, "attributes": dict(device.attributes)}
    return described | {key: value for key, value in optional.items() if value}
