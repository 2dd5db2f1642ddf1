"""The simulated asset call: a system beside omstation that has the data of locks.

Written from the public page of QueryAdminAssetListByFAssetIDs: header `token`, a text of ids, -1 for what is unknown.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.omstation.data import clock_time
from fleet2mqtt.simulators.omstation.protocol import SUCCESS, TEXTS, Code, Tree
from fleet2mqtt.simulators.omstation.state import SIMULATOR, Simulator

PATH = "/QueryAdminAssetListByFAssetIDs"
ASSET_FIELDS = (
    *("deviceId", "deviceType", "battery", "onlineStatus", "gpsSignal", "gsmSignal"),
    *("lat", "lon", "gpsTime", "networkType"),
)


async def serve(request: web.Request) -> web.Response:
    """Respond to the asset call."""
    simulator = request.app[SIMULATOR]
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    fault = simulator.fault_injector.take(request.path, FaultKind.ERROR)
    if fault is not None:
        code = Code.EXCEPTION if fault.code is None else fault.code
        return _respond(code, fault.text or TEXTS.get(code, "Unknown error"))
    if request.headers.get("token") != simulator.asset_token:
        return _respond(Code.TOKEN, TEXTS[Code.TOKEN])
    ids = _ids(await request.read())
    if ids is None or not simulator.refused_assets.isdisjoint(ids):
        return _respond(Code.PARAMETER, TEXTS[Code.PARAMETER])
    return _respond(Code.SUCCESS, SUCCESS, [asset(simulator, id_) for id_ in ids if id_ in simulator.devices])


def asset(simulator: Simulator, id_: str) -> Tree:
    """Return a lock as the page's sample has it; `asset_changes` of the simulator replace fields."""
    places = {
        lattice["deviceId"]: (simulator.stations[station], lattice)
        for station, lattices in simulator.lattices.items()
        for lattice in lattices
    }
    station, lattice = places.get(id_, ({"centerLat": 22.126542, "centerLon": 113.254632}, None))
    return {
        "deviceId": id_,
        "deviceType": simulator.devices[id_],
        "battery": 60 if lattice is None else simulator.charge[lattice["id"]],
        "onlineStatus": 1,
        "gpsSignal": 24,
        "gsmSignal": 20,
        "lat": station["centerLat"],
        "lon": station["centerLon"],
        "gpsTime": clock_time(datetime.now(UTC)),
        "networkType": 1,
    } | simulator.asset_changes.get(id_, {})


def _ids(raw: bytes) -> list[str] | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(body, dict) or body.keys() != {"assetIds"} or not isinstance(body["assetIds"], str):
        return None
    ids = body["assetIds"].split(",")
    return ids if all(id_ and id_ == id_.strip() for id_ in ids) else None


def _respond(code: int, message: str, data: Any = None) -> web.Response:
    return web.json_response({"code": code, "message": message, "data": data})
