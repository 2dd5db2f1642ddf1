"""A ThingsCloud project to test against: the project HTTP API document as an aiohttp application, faults included.

Control it in process through `app[SIMULATOR]`, or over HTTP: `GET /_sim/state`, `POST /_sim/device|alarm|recover|
report|event|push|broker|tokens|quirks` (see `control`), and what `fleet2mqtt.simulators.fault_injection` adds.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from fleet2mqtt.simulators.fault_injection import CONTROL, FaultKind
from fleet2mqtt.simulators.thingscloud import attributes, auth, customers, device_api, devices, project
from fleet2mqtt.simulators.thingscloud.attribute_store import AttributeStore
from fleet2mqtt.simulators.thingscloud.broker import AppBroker
from fleet2mqtt.simulators.thingscloud.control import control_routes
from fleet2mqtt.simulators.thingscloud.live import populate, running
from fleet2mqtt.simulators.thingscloud.push import Pusher
from fleet2mqtt.simulators.thingscloud.quirks import Quirks
from fleet2mqtt.simulators.thingscloud.requests import WRONG_ARGUMENT, ApiRequest, Operation, RefusalError
from fleet2mqtt.simulators.thingscloud.state import SIMULATOR, Simulator

__all__ = ["DEMO", "SIMULATOR", "Simulator", "create"]

DEMO = {"app_id": "app-demo", "access_key": "demo-access-key", "secret_key": "demo-secret-key", "rate": 20}
"""Options of a configuration for this simulator."""

OPERATIONS: tuple[Operation, ...] = (
    *auth.OPERATIONS,
    *project.OPERATIONS,
    *devices.OPERATIONS,
    *attributes.OPERATIONS,
    *customers.OPERATIONS,
)
_NOT_JSON = {"result": False, "message": "Invalid JSON message", "errcode": 400}


class _NotJsonError(Exception):
    """The body of a request is no JSON."""


def create(
    *,
    devices: int = 2,
    push_url: str | None = None,
    live: bool = False,
    seed: int = 1,
    app_broker: AppBroker | None = None,
) -> web.Application:
    """A project with so many devices; pushes go to `<push_url>/alarm`, `/attributes` and `/event`.

    What devices do is also published to `app_broker`, if there is one: the application-side MQTT.
    """
    quirks = Quirks()
    simulator = Simulator(
        rng=random.Random(seed),  # noqa: S311
        quirks=quirks,
        pusher=Pusher(url=push_url, quirks=quirks),
        app_broker=app_broker,
        attribute_store=AttributeStore(seed=seed),
    )
    populate(simulator, devices)
    app = web.Application(client_max_size=16 * 2**20)
    app[SIMULATOR] = simulator
    simulator.fault_injector.attach(app)
    app.middlewares.append(_respond)
    app.router.add_routes(control_routes())
    app.router.add_post(device_api.PATH, device_api.send_command)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, _handler(operation))

    async def run(_: web.Application) -> AsyncIterator[None]:
        async with running(simulator, live=live):
            yield

    app.cleanup_ctx.append(run)
    return app


@web.middleware
async def _respond(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return the responses that no operation makes: too many calls, injected faults, refusals, unknown paths."""
    if request.path.startswith(CONTROL):
        return await handler(request)
    simulator = request.app[SIMULATOR]
    wait = auth.seconds_to_wait(simulator)
    if wait is not None:
        return _response(simulator, {"message": "Too many requests"}, 429, {"Retry-After": str(wait)})
    fault = simulator.fault_injector.take(request.path, FaultKind.ERROR)
    if fault is not None:
        code = 500 if fault.code is None else fault.code
        return _response(simulator, _refusal(fault.text or "系统错误", code))
    try:
        return await handler(request)
    except RefusalError as error:
        payload, status = _refusal(str(error), error.code, bare=error.bare), error.status
    except _NotJsonError:
        payload, status = _NOT_JSON, 404
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        payload, status = {"message": "Request invalid"}, 404
    return _response(simulator, payload, status)


def _refusal(message: str, code: int, *, bare: bool = False) -> dict[str, Any]:
    refusal = {"result": False, "errcode": code, "message": message}
    return refusal if bare else refusal | {"errors": []}


def _response(
    simulator: Simulator, payload: Any, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    body = simulator.quirks.encode(payload)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def _handler(operation: Operation) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        simulator, account = request.app[SIMULATOR], None
        if not operation.is_open:
            account = auth.authorize(simulator, request.headers).account
        api_request = ApiRequest(
            path=request.path,
            match=request.match_info,
            query=request.query,
            body=await _body(request) if operation.method in ("POST", "PUT") else {},
            account=account,
        )
        info = operation.run(simulator, api_request)
        if operation.writes:
            info, effect = info
            if not simulator.fault_injector.take(request.path, FaultKind.NOOP):
                effect()
        elif operation.lists and simulator.fault_injector.take(request.path, FaultKind.EMPTY):
            info = _emptied(info)
        return _response(simulator, {"result": True, "info": info})

    return handle


def _emptied(info: Any) -> Any:
    if isinstance(info, list):
        return []
    if "items" not in info:
        return {}
    return {"items": []} | {name: 0 for name in ("total", "page_total") if name in info}


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise _NotJsonError
    try:
        body = json.loads(await request.read(), parse_constant=_refuse_constant)
    except ValueError as error:
        raise _NotJsonError from error
    if not isinstance(body, dict):
        raise RefusalError("参数错误", WRONG_ARGUMENT)
    return body


def _refuse_constant(name: str) -> None:
    """NaN and the infinities are Python's, not JSON's."""
    raise ValueError(name)
