"""A simulated Sangfor AC: its document as an aiohttp application, with injected faults and deviations.

Chapter 1, most of 2 and the permission check, which the document lacks, follow public sources. Control it through
`app[SIMULATOR]` in process, or over HTTP at the paths of `control` and of `fleet2mqtt.simulators.fault_injection`.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import ContextVar
from fnmatch import fnmatch
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from fleet2mqtt.simulators.fault_injection import CONTROL, FaultKind
from fleet2mqtt.simulators.sangfor_ac.control import control_routes
from fleet2mqtt.simulators.sangfor_ac.live import step
from fleet2mqtt.simulators.sangfor_ac.operations import OPERATIONS, Operation
from fleet2mqtt.simulators.sangfor_ac.protocol import (
    Chapter,
    Problem,
    RefusalError,
    Tree,
    braces_for_empty,
    check_fields,
    digest,
    number_texts,
    require,
)
from fleet2mqtt.simulators.sangfor_ac.state import SIMULATOR, Arrival, Call, Simulator

__all__ = ["DEMO", "SIMULATOR", "Simulator", "create"]

DEMO = {"key": "fleet2mqtt-sim", "spacing": 0, "watch": {"groups": ["/default", "/研发部"], "users": ["a"]}}
"""Options of a configuration for this simulator."""

_ROOT = "/v1/"
_STEP_SECONDS = 1.0
_AT_A_BBC_CENTRE = (Chapter.USERS, Chapter.POLICIES)
_ARRIVAL: ContextVar[Arrival] = ContextVar("arrival")


def create(*, devices: int = 2, push_url: str | None = None, live: bool = False, seed: int = 1) -> web.Application:
    """Return an AC with `devices` online users, the document's first; it pushes nothing, so `push_url` is unused."""
    del push_url
    simulator = Simulator(rng=random.Random(seed))  # noqa: S311 - generated data that must come out the same again
    simulator.populate(devices)
    app = web.Application(client_max_size=16 * 2**20, middlewares=[_record_call])
    app[SIMULATOR] = simulator
    simulator.fault_injector.attach(app)
    app.router.add_routes([*control_routes(), web.route("*", "/{path:.*}", _serve)])
    if live:
        app.cleanup_ctx.append(_living)
    return app


@web.middleware
async def _record_call(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Record each call, those too that a fault ends: a random that a fault has seen is used."""
    if not request.path.startswith(CONTROL):
        at, (given, _) = time.monotonic(), await _presented(request)
        _ARRIVAL.set(request.app[SIMULATOR].record_call(given, at))
    return await handler(request)


async def _presented(request: web.Request) -> tuple[str | None, str | None]:
    """Return `random` and `md5` from where they belong: the query of a GET, the JSON body of a POST."""
    place = request.query if request.method == "GET" else await _body(request)
    given, md5 = place.get("random"), place.get("md5")
    if isinstance(given, str) and given and isinstance(md5, str) and md5:
        return given, md5
    return None, None


async def _body(request: web.Request) -> Tree:
    if request.content_type != "application/json":
        return {}
    try:
        body = json.loads(await request.read())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


async def _serve(request: web.Request) -> web.Response:
    simulator, path = request.app[SIMULATOR], request.path
    if _matches(path, simulator.redirects):
        return web.Response(status=302, headers={"Location": "/"})
    if path == "/":
        return web.Response(text="<html><head><title>SANGFOR AC</title></head></html>", content_type="text/html")
    if request.method not in ("GET", "POST"):
        raise web.HTTPMethodNotAllowed(request.method, ["GET", "POST"])
    simulator.in_flight += 1
    simulator.most_in_flight = max(simulator.most_in_flight, simulator.in_flight)
    try:
        reply = await _carry_out(simulator, request)
    except RefusalError as refusal:
        reply = {"code": 1, "message": refusal.text(chinese=_is_chinese(request))}
    finally:
        simulator.in_flight -= 1
    if _matches(path, simulator.empty_bodies):
        return web.Response(body=b"", content_type="application/octet-stream")
    text = json.dumps(reply, ensure_ascii=False)
    return web.Response(body=text.encode(), content_type="application/json")


async def _carry_out(simulator: Simulator, request: web.Request) -> Tree:
    require(not simulator.service_disabled, Problem.DISABLED)
    require(not simulator.outside_whitelist, Problem.NOT_WHITELISTED)
    interface = _interface(simulator, request)
    await _check_permission(simulator, request)
    alone = simulator.in_flight == 1 or not simulator.busy_when_concurrent
    require(alone and _ARRIVAL.get().gap >= simulator.min_spacing, Problem.BUSY)
    await asyncio.sleep(simulator.answer_delay)
    fault = simulator.fault_injector.take(request.path, FaultKind.ERROR)
    if fault is not None:
        text = fault.text or RefusalError(Problem.UNKNOWN).text(chinese=_is_chinese(request))
        return {"code": 1 if fault.code is None else fault.code, "message": text}
    body = await _body(request)
    require("_method" not in body)
    operation = interface.get((request.method, request.query.get("_method", "")))
    if operation is None or _is_missing(simulator, operation):
        raise RefusalError(Problem.FORMAT)
    call = Call(simulator=simulator, path=request.path, query=request.query, body=body)
    return _envelope(simulator, request, operation, _run(operation, call))


def _interface(simulator: Simulator, request: web.Request) -> dict[tuple[str, str], Operation]:
    """Return the operations of a path, by method and `_method`. Raises HTTP 404 where there is none."""
    name = request.path.removeprefix(_ROOT) if request.path.startswith(_ROOT) else ""
    moved = simulator.ipmac_under_bindinfo and name.endswith("ipmac-bindinfo")
    if moved and name == "ipmac-bindinfo":
        raise web.HTTPNotFound
    interface = dict(OPERATIONS.get(name, {}))
    if moved:
        interface |= OPERATIONS["ipmac-bindinfo"]
    gone = not simulator.missing_as_text and all(_is_missing(simulator, one) for one in interface.values())
    if not interface or gone:
        raise web.HTTPNotFound
    return interface


def _is_missing(simulator: Simulator, operation: Operation) -> bool:
    chapter = operation.chapter
    return chapter in simulator.missing_chapters or (simulator.bbc_centre and chapter not in _AT_A_BBC_CENTRE)


async def _check_permission(simulator: Simulator, request: web.Request) -> None:
    given, md5 = await _presented(request)
    if given is None:
        raise RefusalError(Problem.NO_RANDOM)
    require(md5 == digest(simulator.key, given) and not _ARRIVAL.get().reused, Problem.PERMISSION)


def _run(operation: Operation, call: Call) -> Any:
    check_fields(call.body, operation.fields)
    require(all(call.query.get(name) for name in operation.query))
    if operation.writes and call.simulator.fault_injector.take(call.path, FaultKind.NOOP):
        return operation.done
    return operation.run(call)


def _envelope(simulator: Simulator, request: web.Request, operation: Operation, data: Any) -> Tree:
    if simulator.numbers_as_text and operation.chapter is Chapter.STATUS:
        data = number_texts(data)
    if simulator.braces_for_empty:
        data = braces_for_empty(data)
    reply: Tree = {"code": 0, "message": operation.message}
    if simulator.code_missing and request.method == "POST":
        del reply["code"]
    return reply if data is None else reply | {"data": data}


def _matches(path: str, patterns: set[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _is_chinese(request: web.Request) -> bool:
    return "zh-cn" in request.headers.get("Accept-Language", "").lower()


async def _living(app: web.Application) -> AsyncIterator[None]:
    async def live() -> None:
        away: list[Tree] = []
        while True:
            step(app[SIMULATOR], away)
            await asyncio.sleep(_STEP_SECONDS)

    task = asyncio.create_task(live(), name="sangfor_ac simulator")
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
