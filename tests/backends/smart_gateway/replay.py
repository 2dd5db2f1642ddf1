"""A case folder put through the platform: a server that answers with its files, and connect() in front of it.

`list.json` answers devices/list, `device_addMapping.json` device/addMapping, and so on; `list.2.json` is the second
answer, the last one repeats. They are bytes as a server would send them, so they need not be JSON. `options.json` holds
options; `steps.json` says what happens, by default every source that has an answer is polled:

    {"poll": "devices"}   {"action": "mapping_delete", "arguments": {…}}   {"set": ["<device>", "<key>", <value>]}

With steps, expected.json also has what they answered and the requests that were made.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.backends.smart_gateway.client import ARGS
from bridge.errors import BackendError
from tests.backends.smart_gateway.connected import Run, connected

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.model import Device

_SOURCES = {"devices": "list", "details": "query", "mappings": "mapping_list"}


def replay(folder: Path) -> dict[str, Any]:
    """What came of a case: devices, complete inventories and, with steps, answers and requests."""
    with ThreadPoolExecutor(1) as pool:  # a loop of its own, whatever the caller runs in
        return pool.submit(asyncio.run, _replay(folder)).result()


@dataclass(slots=True)
class _Server:
    folder: Path
    requests: list[dict[str, Any]] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/v1/")
        body = await request.read()
        self.requests.append({"call": f"{request.method} {path}", "body": _told(json.loads(body)) if body else None})
        name = path.removeprefix("devices/").replace("/", "_")
        self.answered[name] += 1
        files = [self.folder / f"{name}.json", *sorted(self.folder.glob(f"{name}.[0-9].json"))]
        if not files[0].exists():
            raise web.HTTPNotFound
        file = files[min(self.answered[name], len(files)) - 1]
        return web.Response(body=file.read_bytes(), content_type="application/json")


async def _replay(folder: Path) -> dict[str, Any]:
    server = _Server(folder)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    steps = _content(folder / "steps.json", None)
    polls = [{"poll": name} for name, file in _SOURCES.items() if (folder / f"{file}.json").exists()]
    async with (
        TestServer(app) as running,
        connected(str(running.make_url("")), **_content(folder / "options.json", {})) as run,
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
        if "action" in step:
            return await run.act(step["action"], **step["arguments"])
        device, key, value = step["set"]
        await run.write(device, key, value)
        return (await run.read(device)).state.get(key)
    except BackendError as error:
        return {"error": error.kind, "code": error.code, "message": str(error)}


def _told(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"args": "everything but charts"} if body.get("args") == ARGS else body


def _device(device: Device) -> dict[str, Any]:
    told = {"name": device.name, "available": device.available, "via": device.via, "state": dict(device.state)}
    optional = {"model": device.model, "sw_version": device.sw_version, "attributes": dict(device.attributes)}
    secret = [row.key for row in device.entities if row.secret]
    return told | {key: value for key, value in (optional | {"write_only": secret}).items() if value}


def _content(file: Path, default: Any) -> Any:
    return json.loads(file.read_text("utf-8")) if file.exists() else default
