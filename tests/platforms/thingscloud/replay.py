"""A case folder put through the platform: a server that answers with its files, and connect() in front of it.

`devices.json` answers devices, `device_attributes.json` device/<id>/attributes, `control_command.json` the command of a
device; with a method before it (`PUT_control_attributes.json`) only that; `project.404.json` is sent with that status.
A write without a file succeeds as the document says. `options.json` holds options; `steps.json` says what happens, by
default every source that has an answer is polled:

    {"poll": "devices"}   {"push": ["alarm", "push_alarm.json"]}   {"action": "device_get", "arguments": {…}}
    {"set": ["<device>", "<key>", <value>]}   {"read": "<device>"}

With steps, expected.json also has what they answered and the requests that were made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import BackendError, CommandError
from fleet2mqtt.sdk.vendor_json import iso
from tests.platforms.context import Shared
from tests.platforms.replaying import describe_error, read_json, run_in_new_loop, serve_all
from tests.platforms.thingscloud.connected import Run, connected
from tests.sample_devices import area

if TYPE_CHECKING:
    from pathlib import Path

    from fleet2mqtt.devices.model import Alarm, Device, DeviceEvent

SOURCES = {
    "devices": "devices",
    "device_attributes": "attributes",
    "device_extend_infos": "schema",
    "alarm_logs": "alarms",
    "devices_stat": "stat",
    "devices_alarm_stat": "stat",
    "project": "meta",
}
WRITTEN: dict[str, Any] = {"result": True, "info": {}}
NONE: dict[str, Any] = {"result": True, "info": {"items": []}}
TOKEN = {"result": True, "info": {"access_token": "token-of-the-test", "expires_in": 86400}}
# As if the bridge had first run before the oldest sample.
MARK = json.dumps({"mark": None, "baseline": 1_500_000_000})


def replay(folder: Path) -> dict[str, Any]:
    """Return the outcome of a case: devices, alarms, complete inventories and, with steps, responses and requests."""
    return run_in_new_loop(_replay(folder))


def name_of(path: str) -> str:
    """The file that answers a path: its words without the ids among them."""
    match path.removeprefix("/api/v1/").split("/"):
        case ["control", "device", _, word, *_]:
            return f"control_{word}"
        case ["device" | "device_type" | "customer" as kind, _, *rest]:
            return "series" if rest and rest[-1] == "series" else "_".join((kind, *rest))
        case words:
            return "_".join(words)


@dataclass(slots=True)
class _Server:
    folder: Path
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        name = name_of(request.path)
        if name not in ("access_token", "admin_login") or (self.folder / f"{name}.json").exists():
            asked = {"call": f"{request.method} {request.path_qs}", "body": json.loads(body) if body else None}
            self.requests.append(asked)
        for stem in (f"{request.method}_{name}", name):
            for file in (self.folder / f"{stem}.json", *self.folder.glob(f"{stem}.[0-9][0-9][0-9].json")):
                if file.exists():
                    status = int(file.stem.rpartition(".")[2]) if "." in file.stem else 200
                    return web.Response(status=status, body=file.read_bytes(), content_type="application/json")
        return _unwritten(request.method, name)


def _unwritten(method: str, name: str) -> web.Response:
    if name in ("access_token", "admin_login"):
        return web.json_response(TOKEN)
    if name == "device_alarm_logs":
        return web.json_response(NONE)
    if method == "GET":
        return web.json_response({"message": "Request invalid"}, status=404)
    return web.json_response(WRITTEN)


async def _replay(folder: Path) -> dict[str, Any]:
    server = _Server(folder)
    steps = read_json(folder / "steps.json", None)
    there = _names(folder)
    polls = [{"poll": source} for source in dict.fromkeys(poll for name, poll in SOURCES.items() if name in there)]
    async with TestServer(serve_all(server.answer)) as running:
        url, shared = str(running.make_url("")), Shared(checkpoints={"": MARK})
        async with connected(url, shared, **read_json(folder / "options.json", {})) as run:
            answers = [await _step(run, step, folder) for step in (polls if steps is None else steps)]
    came: dict[str, Any] = {
        "devices": {device.id: _device(device) for device in run.devices.values()},
        "alarms": [_alarm(alarm) for alarm in run.alarms.values()],
        "events": [_event(event) for event in run.events],
        "inventories": {one.scope: sorted(one.ids) for one in run.inventories},
    }
    came |= {} if steps is None else {"answers": answers, "requests": server.requests}
    found: dict[str, Any] = json.loads(json.dumps(came).replace(url, "http://things"))
    return {key: value for key, value in found.items() if value}


async def _step(run: Run, step: dict[str, Any], folder: Path) -> Any:
    try:
        return await _taken(run, step, folder)
    except BackendError as error:
        return describe_error(error)
    except CommandError as error:
        return {"error": "command_error", "code": error.code, "message": str(error)}


async def _taken(run: Run, step: dict[str, Any], folder: Path) -> Any:
    if "poll" in step:
        await run.poll(step["poll"])
        return None
    if "push" in step:
        kind, file = step["push"]
        run.push(kind, (folder / file).read_bytes())
        return json.loads(run.kind(kind).success)
    if "action" in step:
        return await run.act(step["action"], **step.get("arguments", {}))
    if "read" in step:
        return (await run.read(step["read"])).name
    device, key, value = step["set"]
    await run.write(device, key, value)
    return (await run.read(device)).state.get(key)


def _device(device: Device) -> dict[str, Any]:
    plain = ("name", "vendor_id", "model", "serial_number", "via")
    shown = {name: getattr(device, name) for name in plain} | {
        "suggested_area": area(device),
        "attributes": device.attributes,
    }
    entities = {
        entity.key: entity.component.value + (" (set)" if entity.write is not None else "")
        for entity in device.entities
    }
    return {**{key: value for key, value in shown.items() if value}, "entities": entities, "state": device.state}


def _alarm(alarm: Alarm) -> dict[str, Any]:
    names = ("id", "device", "severity", "level", "name", "cleared", "alarm_key", "code", "description", "source")
    return {name: getattr(alarm, name) for name in names} | {"raised_at": iso(alarm.raised_at)}


def _event(event: DeviceEvent) -> dict[str, Any]:
    names = ("device", "key", "event_type", "attributes")
    return {name: getattr(event, name) for name in names}


def _names(folder: Path) -> set[str]:
    return {file.name.partition(".")[0] for file in folder.iterdir()}
