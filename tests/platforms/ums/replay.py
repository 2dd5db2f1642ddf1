"""A case of the UMS: its files as the vendor's responses and pushes, and the output of the platform.

devices, metric_history, metric_history_all, statistics, events, status, detect, detect_test and login (.json) are the
responses of the endpoints; `<name>@<offset>.json` is a later page. push_event*.json and push_device*.json are pushed
after the polls. options.json holds the platform's own options.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.devices.model import Alarm, Device
from fleet2mqtt.errors import BackendError
from fleet2mqtt.sdk.vendor_json import iso
from tests.platforms.context import Shared
from tests.platforms.replaying import describe_error, read_json, serve_all
from tests.platforms.ums.connected import Run, connected
from tests.sample_devices import area

LIST = {
    "devices": "devices",
    "metric_history": "metricHistorys",
    "metric_history_all": "metricHistorys",
    "statistics": "metricHistoryStatistics",
    "events": "events_statistics",
    "status": "states_statistics",
    "detect": "detects",
    "detect_test": "detects",
}
POLLS = {
    "devices": "devices",
    "metric_history": "alarms",
    "detect": "lines",
    "status": "status",
    "statistics": "statistics",
    "events": "events",
}
ALARM_MEMBERS = (
    "id",
    "device",
    "severity",
    "level",
    "code",
    "category",
    "name",
    "description",
    "description_en",
    "line",
    "tags",
    "source",
)
# As if the bridge had run before the oldest sample, and a moment ago: histories are read down to there.
CHECKPOINT = json.dumps({"baseline": "2021-01-01T00:00:00+00:00", "polled": datetime.now(UTC).isoformat()})


@dataclass
class Recorded:
    """The vendor, with the responses on file."""

    folder: Path
    requests: list[str] = field(default_factory=list)

    def app(self) -> web.Application:
        return serve_all(self._respond)

    async def _respond(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.requests.append(" ".join(filter(None, (request.method, request.path_qs, body))))
        name = _endpoint(request)
        offset = int(request.query.get("offset", "0"))
        path = self.folder / (f"{name}@{offset}.json" if offset else f"{name}.json")
        if path.exists():
            return web.Response(body=path.read_bytes(), content_type="application/json")
        return web.json_response({"code": 0, "status": "成功", "meta": {"totalResults": 0}, LIST[name]: []})


def _endpoint(request: web.Request) -> str:
    query = request.query
    match request.path.strip("/").split("/"):
        case ["s1", "device"]:
            return "devices"
        case ["s1", "device", "metric_history"]:
            return "metric_history_all" if query.get("all") == "true" else "metric_history"
        case ["s1", "device", "metric_history", "statistics"]:
            return "events" if query.get("event_type") == "on" else "statistics"
        case ["s1", "device", "status"]:
            return "status"
        case ["s1", "device", _, "detect"]:
            return "detect_test" if query["type"] == "fxo" else "detect"
        case ["passports", "login"]:
            return "login"
    raise web.HTTPNotFound


def replay(folder: Path) -> dict[str, Any]:
    """Return the output of a case: requests, devices, alarms, inventories, and responses to pushes."""
    names = {path.stem for path in folder.glob("*.json")}
    own = read_json(folder / "options.json", {})
    return asyncio.run(_replay(folder, names, own))


async def _replay(folder: Path, names: set[str], own: dict[str, Any]) -> dict[str, Any]:
    vendor = Recorded(folder)
    result: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(TestServer(vendor.app()))
        url = str(server.make_url(""))
        run = await stack.enter_async_context(connected(url, Shared(checkpoints={"": CHECKPOINT}), **own))
        for poll in (poll for name, poll in POLLS.items() if name in names):
            await run.poll(poll)
        if "detect_test" in names:
            await run.press(next(device.id for device in run.devices.values() if device.entity("test_fxo")), "test_fxo")
        if "login" in names:
            result["login"] = await _login(run)
        if any(name.startswith("push_device") for name in names) and "devices" not in names:
            await run.poll("devices")
        replies = {name: _push(run, folder / f"{name}.json") for name in sorted(names) if name.startswith("push_")}
        result = {"requests": vendor.requests, **result, "replies": replies, **_output(run)}
    found: dict[str, Any] = json.loads(json.dumps(result).replace(url, "http://ums"))
    return {key: value for key, value in found.items() if value}


async def _login(run: Run) -> Any:
    try:
        return await run.act("login", account="someone", password="something")
    except BackendError as error:
        return describe_error(error)


def _push(run: Run, path: Path) -> Any:
    kind = run.kind("event" if path.name.startswith("push_event") else "device")
    try:
        run.push(kind.kind, path.read_bytes())
    except BackendError as error:
        return json.loads(kind.failure(error.kind))
    return json.loads(kind.success)


def _output(run: Run) -> dict[str, Any]:
    return {
        "devices": {id_: _device(device) for id_, device in run.devices.items()},
        "alarms": [_alarm(alarm) for alarm in run.alarms.values()],
        "inventories": {scope: sorted(found[-1].ids) for scope, found in run.inventories.items()},
    }


def _device(device: Device) -> dict[str, Any]:
    plain = ("name", "vendor_id", "model", "sw_version", "configuration_url", "via")
    shown = {name: getattr(device, name) for name in plain} | {"suggested_area": area(device)}
    shown |= {"connections": [list(pair) for pair in device.connections], "attributes": device.attributes}
    return {
        "available": device.available,
        **{key: value for key, value in shown.items() if value},
        "state": device.state,
    }


def _alarm(alarm: Alarm) -> dict[str, Any]:
    return {name: getattr(alarm, name) for name in ALARM_MEMBERS} | {"raised_at": iso(alarm.raised_at)}
