"""The simulated IG200 system: the vendor's document as an aiohttp application, with quirks and injected faults.

Control it in process through `app[SIMULATOR]`, or over HTTP: `GET /_sim/state`, `POST /_sim/gateway` with changes,
`DELETE /_sim/gateway?sn=`, and the paths of `fleet2mqtt.simulators.fault_injection`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.smart_gateway import devices as device_handlers
from fleet2mqtt.simulators.smart_gateway import live as live_mode
from fleet2mqtt.simulators.smart_gateway import mapping
from fleet2mqtt.simulators.smart_gateway.control import add_control_routes
from fleet2mqtt.simulators.smart_gateway.protocol import TEXTS, Code, RefusalError, Tree, check_fields
from fleet2mqtt.simulators.smart_gateway.settings import set_devices
from fleet2mqtt.simulators.smart_gateway.state import SIMULATOR, Simulator

__all__ = ["SIMULATOR", "Simulator", "create"]

_UNQUOTED_RATE = re.compile(r'("rate(?:up|down)": )"(\d+ Kbps)"')
_STEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """One call of the document: its required fields, and the name of the message in its responses."""

    run: Callable[[Simulator, Tree, str], Tree]
    method: str = "POST"
    message: str = "msg "
    fields: tuple[tuple[str, type], ...] = ()
    writes: bool = True
    success: str | tuple[()] = "success"


_RULE_FIELDS = (("rule", str), ("sn", str), ("ip", str))
_SET = _Operation(run=set_devices, message="msg")
_OPERATIONS: Mapping[str, _Operation] = {
    "/api/v1/devices/list": _Operation(
        run=device_handlers.list_devices,
        message="msg",
        fields=(
            *((name, int) for name in ("page", "limit", "filtration", "sort_by", "ascend")),
            ("condition", str),
            ("args", dict),
        ),
        writes=False,
    ),
    "/api/v1/devices/query": _Operation(
        run=device_handlers.query_devices, message="msg", fields=(("sns", list), ("args", dict)), writes=False
    ),
    "/api/v1/devices/regist": _Operation(
        run=device_handlers.register_device, message="msg", fields=(("sn", str), ("alias", str))
    ),
    "/api/v1/devices/delete": _Operation(run=device_handlers.delete_device, message="msg", fields=(("sn", str),)),
    "/api/v1/mapping/list": _Operation(run=mapping.list_rules, method="GET", writes=False),
    "/api/v1/mapping/add": _Operation(
        run=mapping.add_rule,
        fields=(("name", str), ("ip", str), ("port", str), ("protocol", int), ("mark", str)),
    ),
    "/api/v1/mapping/edit": _Operation(
        run=mapping.edit_rule,
        fields=(*((name, str) for name in ("uuid", "name", "devName", "sn", "devType", "mark")), ("protocol", int)),
    ),
    "/api/v1/mapping/delete": _Operation(run=mapping.delete_rules, fields=(("rules", list),), success=()),
    "/api/v1/device/addMapping": _Operation(run=mapping.assign_rule, fields=_RULE_FIELDS),
    "/api/v1/device/deleteMapping": _Operation(
        run=mapping.unassign_rules, fields=(("sn", str), ("rules", list)), success=()
    ),
    "/api/v1/device/editMapping": _Operation(run=mapping.reassign_rule, fields=_RULE_FIELDS),
}
_WITH_BARE_SUCCESS = frozenset({"/api/v1/devices/regist", "/api/v1/devices/delete"})


def create(*, devices: int = 2, push_url: str | None = None, live: bool = False, seed: int = 1) -> web.Application:
    """Return a system with `devices` gateways, the document's two first; it pushes nothing, so `push_url` is unused."""
    del push_url
    simulator = Simulator(rng=random.Random(seed))  # noqa: S311 - generated data that must be the same each time
    simulator.populate(devices)
    app = web.Application(client_max_size=64 * 2**20)
    app[SIMULATOR] = simulator
    simulator.fault_injector.attach(app)
    add_control_routes(app)
    app.router.add_route("*", "/{path:.*}", _serve)
    if live:
        app.cleanup_ctx.append(_run_live)
    return app


async def _serve(request: web.Request) -> web.Response:
    simulator, path = request.app[SIMULATOR], request.path
    operation = _SET if path == simulator.set_path else _OPERATIONS.get(path)
    if operation is None:
        raise web.HTTPNotFound
    if request.method != operation.method:
        raise web.HTTPMethodNotAllowed(request.method, [operation.method])
    fault = simulator.fault_injector.take(path, FaultKind.ERROR)
    if fault is not None:
        code = Code.ILLEGAL_DATA if fault.code is None else fault.code
        return _respond(simulator, path, {"code": code, operation.message: fault.text or TEXTS.get(code, "未知错误")})
    try:
        response = _run(simulator, operation, path, await request.read())
    except RefusalError as refusal:
        response = {"code": refusal.code, "msg": str(refusal)}
    message = response.pop("msg", operation.success)
    code = response.pop("code", Code.SUCCESS)
    return _respond(simulator, path, {"code": code, operation.message: message, **response})


def _run(simulator: Simulator, operation: _Operation, path: str, raw: bytes) -> Tree:
    body: Tree = {}
    if operation.method == "POST":
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise RefusalError(Code.NOT_JSON) from error
        if not isinstance(body, dict):
            raise RefusalError(Code.PARAMETER_ERROR)
    check_fields(body, operation.fields)
    if operation.writes and simulator.fault_injector.take(path, FaultKind.NOOP):
        return {}
    return operation.run(simulator, body, path)


def _respond(simulator: Simulator, path: str, response: Tree) -> web.Response:
    text = json.dumps(response, ensure_ascii=False)
    if simulator.kbps_unquoted:
        text = _UNQUOTED_RATE.sub(r"\1\2", text)
    if simulator.bare_success and path in _WITH_BARE_SUCCESS:
        text = text.replace('"msg": "success"', '"msg": success')
    if simulator.trailing_commas:
        text = text[:-1] + ",}"
    headers = {"Server": "Microsoft-HTTPAPI/2.0", "Access-Control-Allow-Origin": "*"}
    return web.Response(body=text.encode(), content_type="application/json", headers=headers)


async def _run_live(app: web.Application) -> AsyncIterator[None]:
    simulator = app[SIMULATOR]

    async def run() -> None:
        while True:
            live_mode.step(simulator.gateways, simulator.rng)
            await asyncio.sleep(_STEP_SECONDS)

    task = asyncio.create_task(run(), name="smart_gateway simulator")
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
