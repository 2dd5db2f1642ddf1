"""A simulated UMS: the UMS document as an aiohttp application, with injected faults and quirks.

Control it in process through `app[SIMULATOR]`, or over HTTP: `POST` to `/_sim/alarm`, `/_sim/device`, `/_sim/push`,
`GET /_sim/state`, and the paths of `fleet2mqtt.simulators.fault_injection`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from fleet2mqtt.simulators.fault_injection import CONTROL, FaultKind
from fleet2mqtt.simulators.ums.control import control_routes
from fleet2mqtt.simulators.ums.handlers import respond, routes
from fleet2mqtt.simulators.ums.quirks import RefusalError
from fleet2mqtt.simulators.ums.state import SIMULATOR, Simulator, populate

__all__ = ["SIMULATOR", "Simulator", "create"]


def create(*, devices: int = 2, push_url: str | None = None, live: bool = False, seed: int = 1) -> web.Application:
    """Return a UMS with `devices` devices, the document's two first; pushes go to `<push_url>/event` and `/device`."""
    simulator = Simulator(rng=random.Random(seed), seed=seed, push_url=push_url)  # noqa: S311
    populate(simulator, devices)
    app = web.Application(client_max_size=16 * 2**20)
    app[SIMULATOR] = simulator
    simulator.fault_injector.attach(app)
    app.middlewares.append(_refuse)
    app.router.add_routes([*routes(), *control_routes()])

    async def run(_: web.Application) -> AsyncIterator[None]:
        async with simulator.running(live=live):
            yield

    app.cleanup_ctx.append(run)
    return app


@web.middleware
async def _refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path.startswith(CONTROL):
        return await handler(request)
    simulator = request.app[SIMULATOR]
    fault = simulator.fault_injector.take(request.path, FaultKind.ERROR)
    if fault is not None:
        code = 1 if fault.code is None else fault.code
        return respond(simulator, {"code": code, "status": fault.text or "系统错误"})
    try:
        return await handler(request)
    except RefusalError as error:
        return respond(simulator, {"code": error.code, "status": error.status})
