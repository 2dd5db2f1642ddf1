"""What the replays of all platforms do alike: serve a case folder, take its steps, and tell what came of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from fleet2mqtt.devices.model import Device
    from tests.platforms.context import Run


def alone(replay: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """What it gives, in a loop of its own, whatever the caller runs in."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, replay).result()


def content(file: Path, default: Any) -> Any:
    return json.loads(file.read_text("utf-8")) if file.exists() else default


def serving(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    """A vendor that answers every call this way."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def refused(error: BackendError) -> dict[str, Any]:
    return {"error": error.kind, "code": error.code, "message": str(error)}


@dataclass(slots=True)
class Files:
    """The answers on file, and the requests that were made."""

    folder: Path
    requests: list[dict[str, Any]] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)

    def answer(self, name: str, default: Path | None = None) -> web.Response:
        """`<name>.json`, then `<name>.2.json` and so on, the last one again and again; 404 without any."""
        self.answered[name] += 1
        files = [self.folder / f"{name}.json", *sorted(self.folder.glob(f"{name}.[0-9].json"))]
        file = files[min(self.answered[name], len(files)) - 1] if files[0].exists() else default
        if file is None:
            raise web.HTTPNotFound
        return web.Response(body=file.read_bytes(), content_type="application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What is a platform's own: its sources and the files that answer them (a glob), and how a device is shown."""

    sources: Mapping[str, str]
    connected: Callable[..., AbstractAsyncContextManager[Run]]
    device: Callable[[Device], dict[str, Any]]
    refused: Callable[[BackendError], dict[str, Any]] = refused


async def came(
    platform: Platform, files: Files, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> dict[str, Any]:
    """What came of a case: devices, complete inventories and, with steps, answers and requests."""
    folder = files.folder
    steps = content(folder / "steps.json", None)
    polls = [{"poll": name} for name, there in platform.sources.items() if any(folder.glob(f"{there}.json"))]
    async with (
        TestServer(serving(answer)) as running,
        platform.connected(str(running.make_url("")), **content(folder / "options.json", {})) as run,
    ):
        answers = [await _step(platform, run, step) for step in (polls if steps is None else steps)]
    found: dict[str, Any] = {"devices": {device.id: platform.device(device) for device in run.devices.values()}}
    found["inventories"] = {one.scope: sorted(one.ids) for one in run.inventories}
    return found if steps is None else found | {"answers": answers, "requests": files.requests}


async def _step(platform: Platform, run: Run, step: dict[str, Any]) -> Any:
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
        return platform.refused(error)
