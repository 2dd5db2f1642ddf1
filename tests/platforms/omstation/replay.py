"""Replay of a case folder: a server that responds with its files, and connect() in front of it.

`queryStationInfoListByOrgId.json` is the response to station/queryStationInfoListByOrgId, and so on; `<name>.2.json`
is the second one, the last one repeats. The login's is the document's sample unless the folder has a `userLogin.json`.
`options.json` contains options, `steps.json` the steps; by default every source with a response is polled:

    {"poll": "stations"}   {"action": "device_register", "arguments": {…}}

With steps, the output also has their answers and the requests that were made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.platforms.omstation.connected import Shared, connected
from tests.platforms.replaying import Files, Platform, describe_error, replay_case, run_in_new_loop

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from fleet2mqtt.devices.model import Device
    from fleet2mqtt.errors import BackendError
    from tests.platforms.context import Run

_LOGIN = Path(__file__).parent / "cases/sample_login/userLogin.json"
_ASSETS = "QueryAdminAssetListByFAssetIDs"
_SOURCES = {
    "stations": "queryStationInfoListByOrgId",
    "lattices": "queryStationLatticeDetail",
    "authorisations": "queryAuthCollectionList",
    "assets": _ASSETS,
}


def replay(folder: Path) -> dict[str, Any]:
    """Return the output of a case: devices, complete inventories and, with steps, answers and requests."""
    files = Files(folder)
    with TemporaryDirectory() as shared:
        connect = partial(_connected, folder, Shared(Path(shared)))
        platform = Platform(sources=_SOURCES, connected=connect, device=_device, describe_error=_describe_error)
        return run_in_new_loop(replay_case(platform, files, _Server(files).answer))


def _connected(folder: Path, shared: Shared, url: str, **own: Any) -> AbstractAsyncContextManager[Run]:
    """Connect to the server; with a response to the asset call it is the asset system, too."""
    if (folder / f"{_ASSETS}.json").exists():
        own["assets"] = {"url": url.rstrip("/"), "token": "asset-token"}
    return connected(url, shared, **own)


@dataclass(slots=True)
class _Server:
    files: Files

    async def answer(self, request: web.Request) -> web.Response:
        sent = {name: request.headers[name] for name in ("token", "lang") if name in request.headers}
        body = json.loads(await request.read())
        body |= {"endTime": "in ten years"} if body.get("startTime") == "2000-01-01" else {}
        self.files.requests.append({"call": f"{request.method} {request.path}", "headers": sent, "body": body})
        name = request.path.rpartition("/")[2]
        return self.files.respond(name, _LOGIN if name == "userLogin" else None)


def _describe_error(error: BackendError) -> dict[str, Any]:
    return describe_error(error) | {"message": str(error).partition("; not tried again")[0]}


def _device(device: Device) -> dict[str, Any]:
    shown = {"name": device.name, "available": device.available, "via": device.via, "state": dict(device.state)}
    return shown | ({"attributes": dict(device.attributes)} if device.attributes else {})
