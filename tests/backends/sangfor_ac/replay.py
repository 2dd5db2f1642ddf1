"""A case folder put through the platform: a server that answers with its files, and connect() in front of it.

Files are named by the call: `GET_policy_netpolicy.json`, `DELETE_group.json` for POST group?_method=DELETE, and so on;
`….2.json` is the second answer, the last one repeats; what has no file is 404. They are bytes as a server would send
them, so they need not be JSON. `options.json` holds options; `steps.json` says what happens:

    {"poll": "status"}   {"action": "group_delete", "arguments": {…}}   {"set": ["<device>", "<key>", <value>]}

Without steps the sources that have an answer are polled. With them expected.json also has what they answered and the
requests that were made, without their signatures.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.errors import BackendError
from tests.backends.sangfor_ac.connected import KEY, Run, connected

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.model import Device

_SOURCES = {
    "status": "GET_status_*",
    "online_users": "GET_online-users",
    "policies": "GET_policy_*",
    "groups": "GET_group_netpolicy",
    "bindings": "GET_bindinfo_*",
}


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
        path = request.path.removeprefix("/v1/")
        query = dict(request.query)
        body = await request.json() if request.method == "POST" else None
        signed = query if body is None else body
        assert _signed(signed)
        told = {"call": f"{request.method} {path}", "query": query, "body": body}
        self.requests.append({name: value for name, value in told.items() if value})
        name = f"{query.get('_method', request.method)}_{path.replace('/', '_')}"
        self.answered[name] += 1
        files = [self.folder / f"{name}.json", *sorted(self.folder.glob(f"{name}.[0-9].json"))]
        if not files[0].exists():
            raise web.HTTPNotFound
        file = files[min(self.answered[name], len(files)) - 1]
        return web.Response(body=file.read_bytes(), content_type="application/json")


def _signed(fields: dict[str, Any]) -> bool:
    """Whether the signature is right; takes it out."""
    random, md5 = fields.pop("random"), fields.pop("md5")
    return bool(md5 == hashlib.md5(f"{KEY}{random}".encode()).hexdigest())  # noqa: S324 - the vendor's


async def _replay(folder: Path) -> dict[str, Any]:
    server = _Server(folder)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    steps = _content(folder / "steps.json", None)
    polls = [{"poll": name} for name, files in _SOURCES.items() if _any(folder, f"{files}.json")]
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


def _device(device: Device) -> dict[str, Any]:
    told = {"name": device.name, "available": device.available, "via": device.via, "state": dict(device.state)}
    optional = {"sw_version": device.sw_version, "attributes": dict(device.attributes)}
    return told | {key: value for key, value in optional.items() if value}


def _any(folder: Path, files: str) -> bool:
    return any(folder.glob(files))


def _content(file: Path, default: Any) -> Any:
    return json.loads(file.read_text("utf-8")) if file.exists() else default
