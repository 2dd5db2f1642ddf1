"""A case folder put through the platform: a server that answers with its files, and connect() in front of it.

`queryStationInfoListByOrgId.json` answers station/queryStationInfoListByOrgId, and so on; `<name>.2.json` is the second
answer, the last one repeats. The login is answered with the document's sample unless the folder has a `userLogin.json`.
`options.json` holds options; `steps.json` says what happens, by default every source that has an answer is polled:

    {"poll": "stations"}   {"action": "device_register", "arguments": {…}}

With steps, expected.json also has what they answered and the requests that were made.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.errors import BackendError
from tests.backends.omstation.connected import Run, Shared, connected

if TYPE_CHECKING:
    from bridge.model import Device

_LOGIN = Path(__file__).parents[1] / "cases/omstation/sample_login/userLogin.json"
_SOURCES = {
    "stations": "queryStationInfoListByOrgId",
    "lattices": "queryStationLatticeDetail",
    "authorisations": "queryAuthCollectionList",
}


def replay(folder: Path) -> dict[str, Any]:
    """What came of a case: devices, complete inventories and, with steps, answers and requests."""
    with ThreadPoolExecutor(1) as pool, TemporaryDirectory() as shared:  # a loop of its own, whatever the caller's is
        return pool.submit(asyncio.run, _replay(folder, Shared(Path(shared)))).result()


@dataclass(slots=True)
class _Server:
    folder: Path
    requests: list[dict[str, Any]] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: web.Request) -> web.Response:
        sent = {name: request.headers[name] for name in ("token", "lang") if name in request.headers}
        body = json.loads(await request.read())
        body |= {"endTime": "tomorrow"} if body.get("startTime", "").startswith("2000") else {}
        self.requests.append({"call": f"{request.method} {request.path}", "headers": sent, "body": body})
        name = request.path.rpartition("/")[2]
        self.answered[name] += 1
        files = [self.folder / f"{name}.json", *sorted(self.folder.glob(f"{name}.[0-9].json"))]
        file = files[min(self.answered[name], len(files)) - 1]
        if name == "userLogin" and not file.exists():
            file = _LOGIN
        if not file.exists():
            raise web.HTTPNotFound
        return web.Response(body=file.read_bytes(), content_type="application/json")


async def _replay(folder: Path, shared: Shared) -> dict[str, Any]:
    server = _Server(folder)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    steps = _content(folder / "steps.json", None)
    polls = [{"poll": name} for name, file in _SOURCES.items() if (folder / f"{file}.json").exists()]
    async with (
        TestServer(app) as running,
        connected(str(running.make_url("")), shared, **_content(folder / "options.json", {})) as run,
    ):
        answers = [await _step(run, step) for step in (polls if steps is None else steps)]
    came: dict[str, Any] = {"devices": {device.id: _device(device) for device in run.devices.values()}}
    came["inventories"] = {one.scope: sorted(one.ids) for one in run.inventories}
    return came if steps is None else came | {"answers": answers, "requests": server.requests}


async def _step(run: Run, step: dict[str, Any]) -> Any:
    try:
        if "poll" in step:
            await run.poll(step["poll"])
            return None
        return await run.act(step["action"], **step["arguments"])
    except BackendError as error:
        return {"error": error.kind, "code": error.code, "message": str(error).partition("; not tried again")[0]}


def _device(device: Device) -> dict[str, Any]:
    told = {"name": device.name, "available": device.available, "via": device.via, "state": dict(device.state)}
    return told | ({"attributes": dict(device.attributes)} if device.attributes else {})


def _content(file: Path, default: Any) -> Any:
    return json.loads(file.read_text("utf-8")) if file.exists() else default
