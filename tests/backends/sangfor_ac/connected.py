"""The platform as connect() gives it, on a running simulator, with what the core would lend it."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import voluptuous as vol
from aiohttp.test_utils import TestServer

from bridge.backend import Backend, Context, Source, zone
from bridge.backends import sangfor_ac
from bridge.backends.sangfor_ac.simulator import SIMULATOR, Simulator, create
from bridge.model import Device, Ids, Inventory, Update

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from bridge.mischief import Call

NAME = "ac"
KEY = "fleet2mqtt-sim"
WATCH = {"groups": ["/hello"], "users": ["a"], "bindings": ["a", "1.1.1.2"]}
GROUP, USER = f"{NAME}_group_hello_13a7bc88", f"{NAME}_user_a"
BOUND, PAIR = f"{NAME}_binding_a", f"{NAME}_binding_1_1_1_2_721bab5e"
HELLO = f"{NAME}_net_policy_hello"
SOURCES = ("status", "online_users", "policies", "groups", "libraries", "bindings")


async def _keep(_: str, __: str) -> None:
    """Nothing is kept by this platform."""


def context(url: str, claims: dict[str, str] | None = None, **own: Any) -> Context:
    """What the core gives to connect(). `allow` is what the core may pass on of the backend's own options."""
    extra = {"allow": own.pop("allow")} if "allow" in own else {}
    common = {"url": url.rstrip("/"), "timeout": 5.0, "headers": {}, "verify_tls": True, "ca": None}
    given = vol.Schema(sangfor_ac.SCHEMA)({"key": KEY, "spacing": 0} | own)
    return Context(
        name=NAME,
        options=common | {"time_zone": zone("Asia/Shanghai")} | given | extra,
        ids=Ids({} if claims is None else claims),
        data_dir=Path(),
        watermark=lambda _: None,
        keep=_keep,
    )


@dataclass(slots=True)
class Run:
    """A connected backend and all that came out of it, as a hub would take it in."""

    backend: Backend
    devices: dict[str, Device] = field(default_factory=dict)
    inventories: list[Inventory] = field(default_factory=list)

    def take(self, update: Update) -> Update:
        self.devices.update((device.id, device) for device in update.devices)
        self.inventories += update.inventories
        return update

    def source(self, name: str) -> Source:
        return next(source for source in self.backend.sources if source.name == name)

    async def poll(self, *names: str) -> list[Update]:
        """Poll these sources once, in this order, or all."""
        found = []
        for name in names or tuple(source.name for source in self.backend.sources):
            async with aclosing(cast("AsyncGenerator[Update, None]", self.source(name).poll())) as updates:
                found += [self.take(update) async for update in updates]
        return found

    async def act(self, name: str, /, **arguments: Any) -> Any:
        """An action, its arguments through its schema."""
        action = next(action for action in self.backend.actions if action.name == name)
        return await action.run(vol.Schema(dict(action.schema))(arguments))

    async def write(self, device: str, key: str, value: Any) -> Update | None:
        """A row's write; what its answer shows is taken in."""
        row = self.devices[device].entity(key)
        assert row is not None
        assert row.write is not None
        update = await row.write(self.backend.client, self.devices[device], value)
        return update if update is None else self.take(update)

    async def read(self, device: str) -> Device:
        """The device as a read-back shows it."""
        self.take(await self.backend.read(self.devices[device]))
        return self.devices[device]

    def named(self, scope: str, native: str) -> str:
        """The id of a device."""
        return next(one.id for one in self.devices.values() if (one.scope, one.native) == (scope, native))

    def state(self, device: str) -> dict[str, Any]:
        return dict(self.devices[device].state)

    def ids(self, scope: str) -> set[str] | None:
        """The newest inventory of a scope."""
        return next((set(one.ids) for one in reversed(self.inventories) if one.scope == scope), None)


def calls(simulator: Simulator, path: str) -> list[Call]:
    """The calls the simulator got at this path, oldest first."""
    return [call for call in simulator.mischief.calls if call.path == f"/v1/{path}"]


@asynccontextmanager
async def connected(url: str, claims: dict[str, str] | None = None, **own: Any) -> AsyncIterator[Run]:
    """The platform connected to `url`; `own` are its own options."""
    async with sangfor_ac.connect(context(url, claims, **own)) as backend:
        yield Run(backend)


@asynccontextmanager
async def simulated(
    *, devices: int = 2, claims: dict[str, str] | None = None, **own: Any
) -> AsyncIterator[tuple[Simulator, Run]]:
    """A simulator over HTTP, and the platform connected to it."""
    async with AsyncExitStack() as stack:
        app = create(devices=devices)
        server = await stack.enter_async_context(TestServer(app))
        run = await stack.enter_async_context(connected(str(server.make_url("")), claims, **own))
        yield app[SIMULATOR], run
