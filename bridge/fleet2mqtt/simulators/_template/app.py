"""The simulated relay cloud as an aiohttp application, written from the example document alone.

Control it in process through `app[SIMULATOR]`, or over HTTP: `GET /_sim/state`, `POST /_sim/relay`, and what
`fleet2mqtt.simulators.fault_injection` adds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators._template.state import SIMULATOR, Simulator
from fleet2mqtt.simulators.fault_injection import CONTROL, explaining

__all__ = ["DEMO", "SIMULATOR", "create"]

DEMO = {"api_key": "example"}
"""The options of a backend for this simulator."""
LIVE_SECONDS = 3.0


def create(*, devices: int = 2, push_url: str | None = None, live: bool = False) -> web.Application:
    """Return a relay cloud with so many relays. It pushes nothing, so `push_url` is unused."""
    del push_url
    simulator = Simulator()
    simulator.populate(devices)
    app = web.Application()
    app[SIMULATOR] = simulator
    simulator.fault_injector.attach(app)
    app.router.add_get("/api/devices", _list)
    app.router.add_get("/api/device/reading", _reading)
    app.router.add_post("/api/device/settings", _settings)
    app.router.add_post("/api/device/restart", _restart)
    app.router.add_get(CONTROL + "state", _state)
    app.router.add_post(CONTROL + "relay", explaining(_change))
    if live:
        app.cleanup_ctx.append(_live)
    return app


async def _list(request: web.Request) -> web.Response:
    """Section 2: `offset`, `limit`."""
    simulator = request.app[SIMULATOR]
    if refused := _refuse(request):
        return refused
    offset, limit = int(request.query.get("offset", "0")), int(request.query.get("limit", "20"))
    relays = [relay.listed() for relay in simulator.relays.values()]
    return _respond(total=len(relays), devices=relays[offset : offset + limit])


async def _reading(request: web.Request) -> web.Response:
    """Section 3: `id`."""
    relay = request.app[SIMULATOR].relays.get(request.query.get("id", ""))
    if refused := _refuse(request):
        return refused
    return _respond(404, "no such device") if relay is None else _respond(reading=relay.reading())


async def _settings(request: web.Request) -> web.Response:
    """Section 4: `id` and at least one of `relay`, `limit`."""
    body = await _body(request)
    relay = request.app[SIMULATOR].relays.get(str(body.pop("id", "")))
    if refused := _refuse(request):
        return refused
    if relay is None:
        return _respond(404, "no such device")
    if not body or not body.keys() <= {"relay", "limit"}:
        return _respond(400, "expected relay or limit")
    if not isinstance(body.get("relay", False), bool) or not 1 <= body.get("limit", 1) <= 16:
        return _respond(400, "relay is a boolean, limit a number from 1 to 16")
    for name, value in body.items():
        setattr(relay, name, value)
    return _respond()


async def _restart(request: web.Request) -> web.Response:
    """Section 5: `id`, `delay`."""
    body = await _body(request)
    simulator = request.app[SIMULATOR]
    if refused := _refuse(request):
        return refused
    if body.get("id") not in simulator.relays:
        return _respond(404, "no such device")
    simulator.restarts.append(str(body["id"]))
    return _respond()


def _refuse(request: web.Request) -> web.Response | None:
    if request.headers.get("X-Api-Key") != request.app[SIMULATOR].key:
        return _respond(401, "the key is wrong")
    return None


def _respond(code: int = 0, message: str = "OK", **members: Any) -> web.Response:
    return web.json_response({"code": code, "message": message, **members})


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise web.HTTPBadRequest(text="not JSON") from error
    return body if isinstance(body, dict) else {}


async def _state(request: web.Request) -> web.Response:
    simulator = request.app[SIMULATOR]
    relays = {id_: asdict(relay) for id_, relay in simulator.relays.items()}
    return web.json_response({"relays": relays, "restarts": simulator.restarts})


async def _change(request: web.Request) -> web.Response:
    """`id` and fields of `Relay` to change."""
    values = await request.json()
    relay = request.app[SIMULATOR].relays[values.pop("id")]
    for name, value in values.items():
        setattr(relay, name, type(getattr(relay, name))(value))
    return web.json_response(asdict(relay))


async def _live(app: web.Application) -> AsyncIterator[None]:
    """Let temperatures rise and fall."""

    async def change() -> None:
        step = 0.1
        while True:
            await asyncio.sleep(LIVE_SECONDS)
            for relay in app[SIMULATOR].relays.values():
                step = -step if not 20 < relay.temperature + step < 25 else step
                relay.temperature = round(relay.temperature + step, 1)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(change(), name="_template-simulator-live")
        yield
        task.cancel()
