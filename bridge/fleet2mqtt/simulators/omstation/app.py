"""The simulated omstation: its login document and public pages as an aiohttp application, oddities included.

Control it in process through `app[SIMULATOR]`, or over HTTP: `GET /_sim/state`, `POST /_sim/station`, `/_sim/lattice`,
`/_sim/account`, `/_sim/asset`, `/_sim/expire_tokens`, `/_sim/quirks`, and what
`fleet2mqtt.simulators.fault_injection` adds.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.omstation import assets, authorisations, stations
from fleet2mqtt.simulators.omstation.control import control_routes
from fleet2mqtt.simulators.omstation.data import ORG_NAME, TIME_DIFF, USER_ID, make_admin_code, utc
from fleet2mqtt.simulators.omstation.protocol import (
    LANGUAGES,
    SUCCESS,
    TEXTS,
    Code,
    RefusalError,
    TokenAnswer,
    Tree,
    check_fields,
    is_filled,
    is_json_text,
    is_text,
    refuse_unless,
)
from fleet2mqtt.simulators.omstation.state import SIMULATOR, Simulator

__all__ = ["DEMO", "SIMULATOR", "create"]

DEMO = {"username": "admin", "password": "123456"}
"""The options of a backend for this simulator."""

ROOT = "/omstation/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """A call: its required and optional fields, and the function that serves it."""

    run: Callable[[Simulator, Tree, str], Tree | None]
    required: Mapping[str, Callable[[Any], bool]]
    optional: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
    writes: bool = False
    token: bool = True


def _log_in(simulator: Simulator, body: Tree, _: str) -> Tree:
    token, now = simulator.log_in(body["userName"], body["password"]), datetime.now(UTC)
    return {
        "tokenId": token,
        "userId": USER_ID,
        "orgId": simulator.org_id,
        "orgName": None if simulator.null_strings else ORG_NAME,
        "timeDiff": TIME_DIFF,
        "loginTime": utc(now),
        "loginTimestamp": int(now.timestamp() * 1000),
        "logoUrl": None,
        "defaultMenu": None,
        "dateFormat": None if simulator.null_strings else "yyyy-MM-dd",
        "defaultMap": 1,
        "webTheme": None if simulator.null_strings else "rgba(132, 15, 48, 1)",
        "adminCode": None if simulator.null_strings else make_admin_code(simulator.rng),
        "moduleStyle": 0,
    }


_OPERATIONS: Mapping[str, _Operation] = {
    "login/userLogin": _Operation(run=_log_in, required={"userName": is_filled, "password": is_text}, token=False),
    "station/queryStationInfoListByOrgId": _Operation(run=stations.list_stations, required=stations.LIST_FIELDS),
    "station/queryStationLatticeDetail": _Operation(run=stations.list_lattices, required=stations.DETAIL_FIELDS),
    "station/addStationInfo": _Operation(run=stations.add_station, required=stations.STATION_FIELDS, writes=True),
    "station/updateStationInfo": _Operation(
        run=stations.update_station,
        required=stations.STATION_FIELDS,
        optional={"latticeInfo": is_json_text},  # required by the page's table, missing in its sample
        writes=True,
    ),
    "device/addDeviceInfo": _Operation(run=stations.add_devices, required=stations.DEVICES_FIELDS, writes=True),
    "auth/queryAuthCollectionList": _Operation(
        run=authorisations.list_collections,
        required=authorisations.COLLECTION_QUERY,
    ),
    "auth/queryAuthTransferList": _Operation(
        run=authorisations.list_transfers,
        required=authorisations.TRANSFER_QUERY,
    ),
    "auth/updateAuthCollection": _Operation(
        run=authorisations.update_collection,
        required=authorisations.COLLECTION_FIELDS,
        writes=True,
    ),
    "auth/updateAuthTransfer": _Operation(
        run=authorisations.update_transfer,
        required=authorisations.TRANSFER_FIELDS,
        writes=True,
    ),
}


def create(*, devices: int = 2, push_url: str | None = None, live: bool = False, seed: int = 1) -> web.Application:
    """Return an omstation with `devices` stations of twelve lattices. It pushes nothing, so `push_url` is unused."""
    del push_url
    simulator = Simulator(rng=random.Random(seed))  # noqa: S311  made-up data that must come out the same again
    simulator.populate(devices)
    app = web.Application(client_max_size=16 * 2**20)
    app[SIMULATOR] = simulator
    simulator.fault_injector.attach(app)
    app.router.add_post(assets.PATH, assets.serve)
    app.router.add_routes([*control_routes(), *(web.post(ROOT + name, _serve) for name in _OPERATIONS)])
    if live:
        app.cleanup_ctx.append(_living)
    return app


async def _serve(request: web.Request) -> web.Response:
    simulator, operation = request.app[SIMULATOR], _OPERATIONS[request.path.removeprefix(ROOT)]
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    fault = simulator.fault_injector.take(request.path, FaultKind.ERROR)
    if fault is not None:
        code = Code.EXCEPTION if fault.code is None else fault.code
        return _answer(code, fault.text or TEXTS.get(code, "Unknown error"))
    if operation.token and request.headers.get("token") not in simulator.tokens:
        return _refuse_token(simulator)
    try:
        data = _run(simulator, operation, request, await request.read())
    except RefusalError as refusal:
        return _answer(refusal.code, str(refusal))
    return _answer(_success(simulator, operation), SUCCESS, data)


def _run(simulator: Simulator, operation: _Operation, request: web.Request, raw: bytes) -> Tree | None:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RefusalError(Code.PARAMETER)
    refuse_unless(request.headers.get("lang", LANGUAGES[0]) in LANGUAGES, "lang")
    check_fields(body, operation.required, operation.optional)
    if operation.writes and simulator.fault_injector.take(request.path, FaultKind.NOOP):
        return None
    return operation.run(simulator, body, request.path)


def _success(simulator: Simulator, operation: _Operation) -> int:
    if operation.writes and simulator.writes_say_105:
        return Code.EXCEPTION
    return simulator.add_answers if operation.run is stations.add_devices else Code.SUCCESS


def _refuse_token(simulator: Simulator) -> web.Response:
    match TokenAnswer(simulator.token_answer):
        case TokenAnswer.UNAUTHORIZED:
            raise web.HTTPUnauthorized
        case TokenAnswer.FORBIDDEN:
            raise web.HTTPForbidden
        case TokenAnswer.MESSAGE:
            return _answer(1, "The token is invalid, please log in again")
        case TokenAnswer.CODE:
            return _answer(Code.TOKEN, TEXTS[Code.TOKEN])


def _answer(code: int, message: str, data: Tree | None = None) -> web.Response:
    return web.json_response({"code": code, "message": message, "data": data})


async def _living(app: web.Application) -> AsyncIterator[None]:
    simulator = app[SIMULATOR]

    async def live() -> None:
        while True:
            await asyncio.sleep(simulator.live_seconds)
            simulator.happen()

    async with asyncio.TaskGroup() as tasks:
        life = tasks.create_task(live(), name="omstation-simulator-life")
        yield
        life.cancel()
