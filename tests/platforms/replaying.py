"""Replay of case folders, shared by all platforms: serve a case folder, run its steps, return the output."""

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


def run_in_new_loop(replay: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Return the coroutine's result from an event loop of its own, also inside a running loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, replay).result()


def read_json(file: Path, default: Any) -> Any:
    """Return the content of a JSON file, `default` if it does not exist."""
    return json.loads(file.read_text("utf-8")) if file.exists() else default


def serve_all(respond: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    """Return an application that responds to every request with `respond`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    return app


def describe_error(error: BackendError) -> dict[str, Any]:
    """Return an error as expected.json has it."""
    return {"error": error.kind, "code": error.code, "message": str(error)}


@dataclass(slots=True)
class Files:
    """The responses on file, and the requests that were received."""

    folder: Path
    requests: list[dict[str, Any]] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)

    def respond(self, name: str, default: Path | None = None) -> web.Response:
        """Return `<name>.json`, then `<name>.2.json` and so on, the last one repeatedly; 404 without any."""
        self.served[name] += 1
        files = [self.folder / f"{name}.json", *sorted(self.folder.glob(f"{name}.[0-9].json"))]
        file = files[min(self.served[name], len(files)) - 1] if files[0].exists() else default
        if file is None:
            raise web.HTTPNotFound
        return web.Response(body=file.read_bytes(), content_type="application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The parts of a replay that are specific to a platform.

    `sources` maps a source to the files that its requests are served from (a glob), `device` returns a device as
    expected.json has it.
    """

    sources: Mapping[str, str]
    connected: Callable[..., AbstractAsyncContextManager[Run]]
    device: Callable[[Device], dict[str, Any]]
    describe_error: Callable[[BackendError], dict[str, Any]] = describe_error


async def replay_case(
    platform: Platform, files: Files, respond: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> dict[str, Any]:
    """Return the output of a case: devices, complete inventories and, with steps, answers and requests."""
    folder = files.folder
    steps = read_json(folder / "steps.json", None)
    polls = [{"poll": name} for name, file in platform.sources.items() if any(folder.glob(f"{file}.json"))]
    async with (
        TestServer(serve_all(respond)) as running,
        platform.connected(str(running.make_url("")), **read_json(folder / "options.json", {})) as run,
    ):
        answers = [await _step(platform, run, step) for step in (polls if steps is None else steps)]
    output: dict[str, Any] = {"devices": {device.id: platform.device(device) for device in run.devices.values()}}
    output["inventories"] = {one.scope: sorted(one.ids) for one in run.inventories}
    return output if steps is None else output | {"answers": answers, "requests": files.requests}


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
        return platform.describe_error(error)
