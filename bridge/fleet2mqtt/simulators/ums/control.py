"""Control of a simulated UMS from another process: the paths under `/_sim/`, JSON in and out, 400 for a bad request."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import CONTROL, explaining
from fleet2mqtt.simulators.ums.data import WIRE_NAMES, Event
from fleet2mqtt.simulators.ums.state import SIMULATOR, Simulator


def control_routes() -> list[web.RouteDef]:
    """Return the routes for alarms, devices, pushes, quirks and the whole state."""
    return [
        web.post(CONTROL + "alarm", explaining(_alarm)),
        web.post(CONTROL + "device", explaining(_device)),
        web.post(CONTROL + "push", explaining(_push)),
        web.post(CONTROL + "quirks", explaining(_quirks)),
        web.get(CONTROL + "state", _state),
    ]


async def _alarm(request: web.Request) -> web.Response:
    """`mac`, and optionally `at` (ISO 8601), `push` and the fields of `Event`."""
    values = await request.json()
    mac, at, push = values.pop("mac"), values.pop("at", None), values.pop("push", True)
    unknown = values.keys() - Event.__annotations__.keys()
    if unknown:
        raise AttributeError(*unknown)
    time = None if at is None else datetime.fromisoformat(at)
    return web.json_response(request.app[SIMULATOR].raise_alarm(mac, at=time, push=push, **values))


async def _device(request: web.Request) -> web.Response:
    """`mac` with `add` or `remove` as true, or `online`, `push`, `line` (as for `set_line`) and fields of `Device`."""
    simulator, values = request.app[SIMULATOR], await request.json()
    mac, push, online, line = (
        values.pop("mac"),
        values.pop("push", True),
        values.pop("online", None),
        values.pop("line", None),
    )
    if values.pop("remove", False):
        simulator.remove_device(mac)
        return web.json_response(None)
    device = simulator.add_device(mac, **values) if values.pop("add", False) else simulator.change(mac, **values)
    if online is not None:
        simulator.set_online(mac, online, push)
    if line is not None:
        simulator.set_line(mac, **line)
    return web.json_response(asdict(device))


async def _push(request: web.Request) -> web.Response:
    """`kind`, `body` (text goes out as it is) and how many `times`; responds with the outcomes in order."""
    values = await request.json()
    kind, body, times = values["kind"], values["body"], int(values.get("times", 1))
    return web.json_response([(await request.app[SIMULATOR].push(kind, body))._asdict() for _ in range(times)])


async def _quirks(request: web.Request) -> web.Response:
    """Switches of `Quirks`."""
    quirks = request.app[SIMULATOR].quirks
    for name, value in (await request.json()).items():
        setattr(quirks, name, value)
    return web.json_response(asdict(quirks))


async def _state(request: web.Request) -> web.Response:
    """The whole state; of the lines those that were requested at least once."""
    return web.json_response(_dump(request.app[SIMULATOR]))


def _dump(simulator: Simulator) -> dict[str, Any]:
    return {
        "devices": [{name: getattr(device, name) for name in WIRE_NAMES} for device in simulator.devices.values()],
        "lines": {mac: [asdict(line) for line in lines] for mac, lines in simulator.drawn_lines.items()},
        "history": simulator.history,
        "statistics": list(simulator.statistics),
        "quirks": asdict(simulator.quirks),
        "pushes": [push._asdict() for push in simulator.pushes],
        "push_url": simulator.push_url,
    }
