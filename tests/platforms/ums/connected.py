"""The platform as connect() opens it, on a running UMS, with the context that the core provides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.devices.model import Alarm, Device, Inventory, Update
from fleet2mqtt.platforms import ums
from fleet2mqtt.sdk.api import Backend, Push, Source
from fleet2mqtt.simulators.ums.app import SIMULATOR, Simulator, create
from tests.platforms.context import Shared, act, once, options, source_of

NAME = "hq_voip"


@dataclass(slots=True)
class Run:
    """A connected backend and all its updates, as a hub would apply them."""

    backend: Backend
    options: dict[str, Any]
    devices: dict[str, Device] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    inventories: dict[str, list[Inventory]] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)

    def apply(self, update: Update) -> Update:
        self.updates.append(update)
        self.devices.update((device.id, device) for device in update.devices)
        for alarm in update.alarms:
            self.alarms.setdefault(alarm.id, alarm)
        for inventory in update.inventories:
            self.inventories.setdefault(inventory.scope, []).append(inventory)
        return update

    async def poll(self, *names: str) -> list[Update]:
        """Poll these sources once, in this order, or all."""
        before = len(self.updates)
        for name in names or tuple(source.name for source in self.backend.sources):
            async with once(self.backend, name) as updates:
                async for update in updates:
                    self.apply(update)
        return self.updates[before:]

    def source(self, name: str) -> Source:
        return source_of(self.backend, name)

    def push(self, kind: str, body: Any) -> Update:
        """Accept a push of the vendor: an object, or bytes unchanged."""
        return self.apply(self.kind(kind).accept(body if isinstance(body, bytes) else orjson.dumps(body)))

    def kind(self, kind: str) -> Push:
        return next(push for push in self.backend.pushes if push.kind == kind)

    async def act(self, name: str, **arguments: Any) -> Any:
        """Run an action with validated arguments."""
        return await act(self.backend, name, arguments)

    async def press(self, device: str, key: str) -> Update:
        """Press a button and apply the update that it returns."""
        entity = self.devices[device].entity(key)
        assert entity is not None
        assert entity.write is not None
        update = await entity.write(self.backend.client, self.devices[device], None)
        assert update is not None
        return self.apply(update)


@asynccontextmanager
async def connected(url: str, shared: Shared | None = None, **own: Any) -> AsyncIterator[Run]:
    """Connect the platform to `url`; `own` are its own options."""
    chosen = options(ums.SCHEMA, url, own)
    async with ums.connect((shared or Shared()).context(NAME, chosen)) as backend:
        yield Run(backend, chosen)


Answered = dict[str, Any] | int
Answer = Callable[[web.Request], Answered | Awaitable[Answered]]


@asynccontextmanager
async def scripted(answer: Answer, shared: Shared | None = None, **own: Any) -> AsyncIterator[Run]:
    """Connect the platform to a vendor of the test: `answer` returns the members of a response, or an HTTP status."""

    async def handle(request: web.Request) -> web.Response:
        answering = answer(request)
        answered = await answering if isinstance(answering, Awaitable) else answering
        if isinstance(answered, int):
            return web.Response(status=answered)
        return web.json_response({"code": 0, "status": "成功"} | answered)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server, connected(str(server.make_url("")), shared, **own) as run:
        yield run


@asynccontextmanager
async def simulated(
    shared: Shared | None = None, *, devices: int = 2, **own: Any
) -> AsyncIterator[tuple[Simulator, Run]]:
    """Start a simulator over HTTP and connect the platform to it."""
    async with AsyncExitStack() as stack:
        app = create(devices=devices)
        server = await stack.enter_async_context(TestServer(app))
        run = await stack.enter_async_context(connected(str(server.make_url("")), shared, **own))
        yield app[SIMULATOR], run
