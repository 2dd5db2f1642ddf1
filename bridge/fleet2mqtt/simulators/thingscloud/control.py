"""Control of a simulated ThingsCloud from another process: paths under `/_sim/`, JSON in and out, 400 for bad input.

`device` names a device by id; `push` (default true) decides whether it is pushed.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import CONTROL, explaining
from fleet2mqtt.simulators.thingscloud.data import plain
from fleet2mqtt.simulators.thingscloud.state import SIMULATOR, Simulator

_SETTINGS = (
    *("token_seconds", "admin_token_seconds", "lock_after", "max_rate"),
    *("page_size", "max_page_records", "alarm_logs_shown", "device_delay", "removal_silence", "live_seconds"),
)

_MISBEHAVIOUR = ("delay", "copies", "garbage", "muted")


def control_routes() -> list[web.RouteDef]:
    """Return the routes for devices, alarms, reports, events, pushes, tokens, quirks and the whole state."""
    return [
        web.post(CONTROL + "device", explaining(_device)),
        web.post(CONTROL + "alarm", explaining(_alarm)),
        web.post(CONTROL + "recover", explaining(_recover)),
        web.post(CONTROL + "report", explaining(_report)),
        web.post(CONTROL + "event", explaining(_event)),
        web.post(CONTROL + "online", explaining(_online)),
        web.post(CONTROL + "data", explaining(_data)),
        web.post(CONTROL + "push", explaining(_push)),
        web.post(CONTROL + "broker", explaining(_broker)),
        web.post(CONTROL + "tokens", explaining(_tokens)),
        web.post(CONTROL + "quirks", explaining(_quirks)),
        web.get(CONTROL + "state", _state),
    ]


async def _device(request: web.Request) -> web.Response:
    """`device` with `add` (a name) or `remove` as true, or `online`, `silent` (seconds) and fields of `Device`."""
    simulator, values = request.app[SIMULATOR], await request.json()
    device, add, remove = values.pop("device"), values.pop("add", None), values.pop("remove", False)
    online, silent = values.pop("online", None), values.pop("silent", None)
    if remove:
        simulator.remove_device(device)
        return web.json_response(None)
    found = simulator.change(device, **values) if add is None else simulator.add_device(add, id=device, **values)
    if online is not None:
        simulator.set_online(device, online)
    if silent is not None:
        simulator.silence(device, silent)
    return web.json_response(plain(found))


async def _alarm(request: web.Request) -> web.Response:
    """`device`, and optionally `level`, `push`, `ago` (ms) and `rule`."""
    return web.json_response(request.app[SIMULATOR].raise_alarm(**await request.json()))


async def _recover(request: web.Request) -> web.Response:
    """`device`, and optionally `push`, `ago` (ms) and `rule`."""
    return web.json_response(request.app[SIMULATOR].recover(**await request.json()))


async def _report(request: web.Request) -> web.Response:
    """`device`, `values` and optionally `push`; the response is the cloud's copy."""
    simulator, asked = request.app[SIMULATOR], await request.json()
    simulator.report(**asked)
    return web.json_response(simulator.values(asked["device"]))


async def _event(request: web.Request) -> web.Response:
    """`device`, `method`, `params` and optionally `push`."""
    request.app[SIMULATOR].event(**await request.json())
    return web.json_response(None)


async def _online(request: web.Request) -> web.Response:
    """`device`, `online` and optionally `push`."""
    return web.json_response(plain(request.app[SIMULATOR].set_online(**await request.json())))


async def _data(request: web.Request) -> web.Response:
    """`device`, `identifier`, `kind` (hex, text or json) and `msg`: what the device sent on a custom data stream."""
    request.app[SIMULATOR].data(**await request.json())
    return web.json_response(None)


async def _push(request: web.Request) -> web.Response:
    """`kind`, `body` (a text is sent as it is) and how many `times`; the response has the results in order."""
    values = await request.json()
    kind, body, times = values["kind"], values["body"], int(values.get("times", 1))
    return web.json_response([(await request.app[SIMULATOR].push(kind, body))._asdict() for _ in range(times)])


async def _broker(request: web.Request) -> web.Response:
    """`delay`, `copies`, `garbage` and `muted` of `AppBroker`; the response has them, and how many are published."""
    broker = request.app[SIMULATOR].app_broker
    if broker is None:
        raise ValueError("no broker for applications")
    for name, value in (await request.json()).items():
        if name not in _MISBEHAVIOUR:
            raise ValueError(f"no such setting: {name}")
        setattr(broker, name, value)
    return web.json_response({name: getattr(broker, name) for name in (*_MISBEHAVIOUR, "published")})


async def _tokens(request: web.Request) -> web.Response:
    """`expire` and `unlock` as true."""
    simulator, asked = request.app[SIMULATOR], await request.json()
    if asked.get("expire"):
        simulator.expire_tokens()
    if asked.get("unlock"):
        simulator.unlock()
    return web.json_response(_access(simulator))


async def _quirks(request: web.Request) -> web.Response:
    """Switches of `Quirks`, and the numbers that are attributes of the simulator."""
    simulator = request.app[SIMULATOR]
    for name, value in (await request.json()).items():
        setattr(simulator if name in _SETTINGS else simulator.quirks, name, value)
    return web.json_response(_switches(simulator))


async def _state(request: web.Request) -> web.Response:
    """The whole state; of the attributes, those that were read."""
    simulator = request.app[SIMULATOR]
    read = simulator.attribute_store.devices.items()
    state = {
        "project": simulator.project,
        "types": simulator.types,
        "groups": simulator.groups,
        "devices": {key: plain(device) for key, device in simulator.devices.items()},
        "attributes": {key: {name: plain(one) for name, one in known.items()} for key, known in read},
        "alarm_logs": list(simulator.alarm_logs),
        "roles": simulator.roles,
        "customers": simulator.customers,
        "sent": [sent._asdict() for sent in simulator.sent],
        "pushes": [push._asdict() for push in simulator.pushes],
        "push_url": simulator.pusher.url,
        "access": _access(simulator),
        "quirks": _switches(simulator),
    }
    return web.json_response(state)


def _access(simulator: Simulator) -> dict[str, Any]:
    names = ("app_id", "access_key", "secret_key", "admin", "password", "logins", "bad_logins")
    access = {name: getattr(simulator, name) for name in names}
    return access | {"tokens": list(simulator.tokens), "arrivals": list(simulator.arrivals)}


def _switches(simulator: Simulator) -> dict[str, Any]:
    return asdict(simulator.quirks) | {name: getattr(simulator, name) for name in _SETTINGS}
