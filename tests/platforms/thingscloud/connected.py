"""The platform connected to a simulator or to a scripted vendor, with a context as the core provides it."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.devices.model import Alarm, Device, DeviceEvent, Inventory, Update
from fleet2mqtt.devices.selection import Detail, Selection
from fleet2mqtt.platforms import thingscloud
from fleet2mqtt.sdk.api import Backend, Push, Source
from fleet2mqtt.simulators.thingscloud import SIMULATOR, Simulator, create
from tests.platforms.context import Shared, act, once, options, source_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fleet2mqtt.simulators.fault_injection import Call

NAME = "things"
FIRST, SECOND, THIRD = "k3v8q2mzpw", "t7c1n5xrdb", "evdbc534mx"
DEVICE, OTHER = f"{NAME}_{FIRST}", f"{NAME}_{SECOND}"
SERVER = {"app_id": "app-demo", "access_key": "demo-access-key", "secret_key": "demo-secret-key"}
ADMIN = {"app_id": "app-demo", "account": "admin", "password": "demo-password"}
FULL = Selection(entities=Detail.FULL)
LOGIN = "/api/v1/access_token"


@dataclass(slots=True)
class Run:
    """A connected backend and all that came out of it, as a hub would take it in."""

    backend: Backend
    shared: Shared
    devices: dict[str, Device] = field(default_factory=dict)
    alarms: dict[tuple[str, bool], Alarm] = field(default_factory=dict)
    inventories: list[Inventory] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    events: list[DeviceEvent] = field(default_factory=list)

    def accept(self, update: Update) -> Update:
        self.updates.append(update)
        self.shared.checkpoints |= update.checkpoints
        self.devices.update((device.id, device) for device in update.devices)
        for alarm in update.alarms:
            self.alarms.setdefault((alarm.id, alarm.cleared), alarm)
        self.inventories += update.inventories
        self.events += update.events
        return update

    def source(self, name: str) -> Source:
        return source_of(self.backend, name)

    async def poll(self, *names: str) -> list[Update]:
        """Poll these sources once, in this order, or all."""
        before = len(self.updates)
        for name in names or tuple(source.name for source in self.backend.sources):
            async with once(self.backend, name) as updates:
                async for update in updates:
                    self.accept(update)
        return self.updates[before:]

    def request_values(self) -> None:
        """Have the values of all devices read by the next poll, whatever the list shows."""
        store = self.backend.client.store
        for vendor_id in store.vendor_ids():
            store.request_values(vendor_id)

    def kind(self, kind: str) -> Push:
        return next(push for push in self.backend.pushes if push.kind == kind)

    def push(self, kind: str, body: Any) -> Update:
        """A push of the vendor: an object, or bytes as they are."""
        return self.accept(self.kind(kind).accept(body if isinstance(body, bytes) else orjson.dumps(body)))

    async def act(self, name: str, /, **arguments: Any) -> Any:
        """An action, its arguments through its schema."""
        return await act(self.backend, name, arguments)

    async def write(self, device: str, key: str, value: Any) -> None:
        row = self.devices[device].entity(key)
        assert row is not None
        assert row.write is not None
        await row.write(self.backend.client, self.devices[device], value)

    async def read(self, device: str) -> Device:
        """The device as a read-back shows it."""
        self.accept(await self.backend.read(self.devices[device]))
        return self.devices[device]

    def state(self, device: str = DEVICE) -> dict[str, Any]:
        return dict(self.devices[device].state)

    def entity(self, key: str, device: str = DEVICE) -> Any:
        return self.devices[device].entity(key)

    def alarm_ids(self) -> list[tuple[str, bool]]:
        """The alarms by id and whether they ended, as they came."""
        return list(self.alarms)


def calls(simulator: Simulator, path: str, method: str | None = None) -> list[Call]:
    """The calls the simulator received at this path under /api/v1/, oldest first."""
    found = [call for call in simulator.fault_injector.calls if call.path == f"/api/v1/{path}"]
    return [call for call in found if method in (None, call.method)]


@asynccontextmanager
async def connected(
    url: str, shared: Shared | None = None, *, selection: Selection = FULL, **own: Any
) -> AsyncIterator[Run]:
    """The platform connected to `url`; `own` are its own options. By default all entities are enabled."""
    with tempfile.TemporaryDirectory() as folder:
        shared = shared or Shared()
        if shared.folder == Path():
            shared.folder = Path(folder)
        given = {"rate": 1000} | (own if "app_id" in own else SERVER | own)
        chosen = options(thingscloud.SCHEMA, url, given)
        context = replace(
            shared.context(NAME, chosen),
            selects=selection.selects,
            narrow=selection.narrow,
            is_enabled=selection.is_enabled,
            may_enable=selection.may_enable,
        )
        async with thingscloud.connect(context) as backend:
            yield Run(backend, shared)


@asynccontextmanager
async def simulated(
    *, devices: int = 2, shared: Shared | None = None, push_url: str | None = None, **own: Any
) -> AsyncIterator[tuple[Simulator, Run]]:
    """A simulator over HTTP, and the platform connected to it."""
    async with AsyncExitStack() as stack:
        app = create(devices=devices, push_url=push_url)
        server = await stack.enter_async_context(TestServer(app))
        run = await stack.enter_async_context(connected(str(server.make_url("")), shared, **own))
        yield app[SIMULATOR], run


@asynccontextmanager
async def restartable(shared: Shared, devices: int = 2) -> AsyncIterator[tuple[Simulator, Callable[..., Any]]]:
    """A simulator, and a way to start the bridge's side of it again with what it kept on disk."""
    async with AsyncExitStack() as stack:
        app = create(devices=devices)
        server = await stack.enter_async_context(TestServer(app))
        yield app[SIMULATOR], lambda **own: connected(str(server.make_url("")), shared, **own)


Answer = Any


@asynccontextmanager
async def scripted(
    answer: Callable[[web.Request, Any], Any], shared: Shared | None = None, **own: Any
) -> AsyncIterator[Run]:
    """The platform connected to a vendor of the test's own: the info, a whole answer (bytes), or an HTTP status."""

    async def handle(request: web.Request) -> web.Response:
        raw = await request.read()
        said = answer(request, orjson.loads(raw) if raw else None)
        if isinstance(said, web.Response):
            return said
        if isinstance(said, bytes):
            return web.Response(body=said, content_type="application/json")
        if said is None and request.path == LOGIN:
            said = {"access_token": "token-1", "expires_in": 86_400}
        return web.json_response({"result": True, "info": said})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server, connected(str(server.make_url("")), shared, **own) as run:
        yield run
