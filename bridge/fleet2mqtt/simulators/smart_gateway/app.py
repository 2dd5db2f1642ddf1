"""An IG200 back end to test against: the vendor's document as an aiohttp application, faults and oddities included.

Steer it in process through `app[SIMULATOR]`, or over HTTP: `GET /_sim/state`, `POST /_sim/gateway` with what shall
change, `DELETE /_sim/gateway?sn=`, and what `fleet2mqtt.simulators.fault_injection` adds.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import CONTROL, FaultKind
from fleet2mqtt.simulators.smart_gateway import devices as devices_calls
from fleet2mqtt.simulators.smart_gateway import live as movement
from fleet2mqtt.simulators.smart_gateway import mapping
from fleet2mqtt.simulators.smart_gateway.protocol import TEXTS, Code, RefusalError, Tree, check_fields
from fleet2mqtt.simulators.smart_gateway.setting import set_devices
from fleet2mqtt.simulators.smart_gateway.state import SIMULATOR, Simulator

__all__ = ["SIMULATOR", "Simulator", "create"]

_UNQUOTED_RATE = re.compile(r'("rate(?:up|down)": )"(\d+ Kbps)"')
_STEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """One call of the document: its required fields, and the name it has for the message in its answers."""

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
        run=devices_calls.list_devices,
        message="msg",
        fields=(
            *((name, int) for name in ("page", "limit", "filtration", "sort_by", "ascend")),
            ("condition", str),
            ("args", dict),
        ),
        writes=False,
    ),
    "/api/v1/devices/query": _Operation(
        run=devices_calls.query_devices, message="msg", fields=(("sns", list), ("args", dict)), writes=False
    ),
    "/api/v1/devices/regist": _Operation(
        run=devices_calls.register_device, message="msg", fields=(("sn", str), ("alias", str))
    ),
    "/api/v1/devices/delete": _Operation(run=devices_calls.delete_device, message="msg", fields=(("sn", str),)),
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
    "/api/v1/device/addMapping": _Operation(run=mapping.give_rule, fields=_RULE_FIELDS),
    "/api/v1/device/deleteMapping": _Operation(
        run=mapping.take_rules, fields=(("sn", str), ("rules", list)), success=()
    ),
    "/api/v1/device/editMapping": _Operation(run=mapping.change_given_rule, fields=_RULE_FIELDS),
}
_SAYS_SUCCESS_BARE = frozenset({"/api/v1/devices/regist", "/api/v1/devices/delete"})


def create(*, devices: int = 2, push_url: str | None = None, live: bool = False, seed: int = 1) -> web.Application:
    """Give a back end with `devices` gateways, the document's two first; it pushes nothing, so `push_url` is unused."""
    del push_url
    simulator = Simulator(rng=random.Random(seed))  # noqa: S311 - made-up data that must come out the same again
    simulator.populate(devices)
    app = web.Application(client_max_size=64 * 2**20)
    app[SIMULATOR] = simulator
    simulator.fault_injector.attach(app)
    app.router.add_get(CONTROL + "state", _get_state)
    app.router.add_post(CONTROL + "gateway", _post_gateway)
    app.router.add_delete(CONTROL + "gateway", _delete_gateway)
    app.router.add_route("*", "/{path:.*}", _serve)
    if live:
        app.cleanup_ctx.append(_living)
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
        return _answer(simulator, path, {"code": code, operation.message: fault.text or TEXTS.get(code, "未知错误")})
    try:
        reply = _run(simulator, operation, path, await request.read())
    except RefusalError as refusal:
        reply = {"code": refusal.code, "msg": str(refusal)}
    message = reply.pop("msg", operation.success)
    code = reply.pop("code", Code.SUCCESS)
    return _answer(simulator, path, {"code": code, operation.message: message, **reply})


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


def _answer(simulator: Simulator, path: str, reply: Tree) -> web.Response:
    text = json.dumps(reply, ensure_ascii=False)
    if simulator.kbps_unquoted:
        text = _UNQUOTED_RATE.sub(r"\1\2", text)
    if simulator.bare_success and path in _SAYS_SUCCESS_BARE:
        text = text.replace('"msg": "success"', '"msg": success')
    if simulator.trailing_commas:
        text = text[:-1] + ",}"
    headers = {"Server": "Microsoft-HTTPAPI/2.0", "Access-Control-Allow-Origin": "*"}
    return web.Response(body=text.encode(), content_type="application/json", headers=headers)


async def _living(app: web.Application) -> AsyncIterator[None]:
    simulator = app[SIMULATOR]

    async def run() -> None:
        while True:
            movement.step(simulator.gateways, simulator.rng)
            await asyncio.sleep(_STEP_SECONDS)

    task = asyncio.create_task(run(), name="smart_gateway simulator")
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _get_state(request: web.Request) -> web.Response:
    return web.json_response(request.app[SIMULATOR].snapshot())


async def _post_gateway(request: web.Request) -> web.Response:
    """Change a gateway, or add it; a channel that is null empties its slot."""
    simulator = request.app[SIMULATOR]
    try:
        sn, parts = _wanted(await request.json())
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    if sn not in simulator.gateways:
        simulator.add_gateway(sn, parts["base"].get("alias", sn))
    for key, fields in parts["channel"].items():
        if fields is None:
            simulator.pull_sim(sn, key)
        else:
            simulator.set_channel(sn, key, **fields)
    for part, fields in parts["network"].items():
        simulator.set_network(sn, part, **fields)
    simulator.set_parameters(sn, **parts["parameters"])
    simulator.set_base(sn, **parts["base"])
    return web.json_response(simulator.refreshed(sn))


def _wanted(body: Any) -> tuple[str, Tree]:
    if not isinstance(body, dict) or not isinstance(body.get("sn"), str) or not body["sn"]:
        raise ValueError("sn has to be a text")
    parts = {name: body.get(name, {}) for name in ("base", "network", "channel", "parameters")}
    if not all(isinstance(part, dict) for part in parts.values()):
        raise ValueError("base, network, channel and parameters have to be objects")
    channels = [fields for fields in parts["channel"].values() if fields is not None]
    if not all(isinstance(fields, dict) for fields in (*parts["network"].values(), *channels)):
        raise ValueError("lan, hotspot and each channel have to be objects")
    if parts["base"].get("sn", body["sn"]) != body["sn"]:
        raise ValueError("a serial number cannot be changed")
    return body["sn"], parts


async def _delete_gateway(request: web.Request) -> web.Response:
    simulator, sn = request.app[SIMULATOR], request.query.get("sn", "")
    if sn not in simulator.gateways:
        raise web.HTTPNotFound(text=f"there is no gateway {sn}")
    simulator.remove_gateway(sn)
    return web.json_response({})
