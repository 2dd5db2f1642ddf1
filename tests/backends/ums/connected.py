"""The platform as connect() gives it, on a running UMS, with what the core would lend it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson
import voluptuous as vol
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.backend import Backend, Context, Push, Source, zone
from bridge.backends import ums
from bridge.backends.ums.simulator import SIMULATOR, Simulator, create
from bridge.model import Alarm, Device, Ids, Inventory, Update

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


NAME = "hq_voip"


@dataclass(slots=True)
class Shared:
    """What outlives a run: id claims and watermarks, as the core keeps them on disk."""

    claims: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)

    async def keep(self, device: str, text: str) -> None:
        self.marks[device] = text

    def context(self, url: str, **own: Any) -> Context:
        common = {"url": url, "timeout": 5.0, "headers": {}, "verify_tls": True, "ca": None}
        options = common | {"time_zone": zone("Asia/Shanghai")} | vol.Schema(ums.SCHEMA)(own)
        return Context(
            name=NAME,
            options=options,
            ids=Ids(self.claims),
            data_dir=Path(),
            watermark=self.marks.get,
            keep=self.keep,
        )


@dataclass(slots=True)
class Run:
    """A connected backend and all that came out of it, as a hub would take it in."""

    backend: Backend
    devices: dict[str, Device] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    inventories: dict[str, list[Inventory]] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)

    def take(self, update: Update) -> Update:
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
            async with aclosing(_generator(self.source(name))) as updates:
                async for update in updates:
                    self.take(update)
        return self.updates[before:]

    def source(self, name: str) -> Source:
        return next(source for source in self.backend.sources if source.name == name)

    def push(self, kind: str, body: Any) -> Update:
        """A push of the vendor: an object, or bytes as they are."""
        return self.take(self.kind(kind).accept(body if isinstance(body, bytes) else orjson.dumps(body)))

    def kind(self, kind: str) -> Push:
        return next(push for push in self.backend.pushes if push.kind == kind)

    async def act(self, name: str, **arguments: Any) -> Any:
        """An action, its arguments through its schema."""
        action = next(action for action in self.backend.actions if action.name == name)
        return await action.run(vol.Schema(action.schema)(arguments))

    async def press(self, device: str, key: str) -> Update:
        """Press a button; what its answer shows is taken in."""
        entity = self.devices[device].entity(key)
        assert entity is not None
        assert entity.write is not None
        update = await entity.write(self.backend.client, self.devices[device], None)
        assert update is not None
        return self.take(update)


def _generator(source: Source) -> AsyncGenerator[Update, None]:
    return cast("AsyncGenerator[Update, None]", source.poll())


@asynccontextmanager
async def connected(url: str, shared: Shared | None = None, **own: Any) -> AsyncIterator[Run]:
    """The platform connected to `url`; `own` are its own options."""
    async with ums.connect((shared or Shared()).context(url, **own)) as backend:
        yield Run(backend)


Answer = Callable[[web.Request], dict[str, Any] | int]


@asynccontextmanager
async def scripted(answer: Answer, shared: Shared | None = None, **own: Any) -> AsyncIterator[Run]:
    """The platform connected to a vendor of the test's own: what it says beside code and status, or an HTTP status."""

    async def handle(request: web.Request) -> web.Response:
        said = answer(request)
        if isinstance(said, int):
            return web.Response(status=said)
        return web.json_response({"code": 0, "status": "成功"} | said)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server, connected(str(server.make_url("")), shared, **own) as run:
        yield run


@asynccontextmanager
async def simulated(*, devices: int = 2, **own: Any) -> AsyncIterator[tuple[Simulator, Run]]:
    """A simulator over HTTP, and the platform connected to it."""
    async with AsyncExitStack() as stack:
        app = create(devices=devices)
        server = await stack.enter_async_context(TestServer(app))
        run = await stack.enter_async_context(connected(str(server.make_url("")), **own))
        yield app[SIMULATOR], run
