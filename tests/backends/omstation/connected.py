"""The platform as connect() gives it, on a running simulator, with what the core would lend it."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import voluptuous as vol
from aiohttp.test_utils import TestServer

from bridge.backend import Backend, Context, Source, zone
from bridge.backends import omstation
from bridge.backends.omstation.simulator import SIMULATOR, Simulator, create
from bridge.model import Device, Ids, Inventory, Update
from tests.backends.omstation.simulated import SIGN_IN, path

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from bridge.mischief import Call

NAME = "cabinets"
ACCOUNT = {"username": "admin", "password": "123456"}


@dataclass(slots=True)
class Shared:
    """What outlives a run: the data directory and id claims, as the core has them on disk."""

    folder: Path
    claims: dict[str, str] = field(default_factory=dict)
    timeout: float = 5.0

    @property
    def file(self) -> Path:
        return self.folder / f"{NAME}.token.json"

    def kept(self) -> dict[str, Any]:
        """What the token file holds."""
        found: dict[str, Any] = json.loads(self.file.read_bytes())
        return found

    async def keep(self, device: str, text: str) -> None:
        raise AssertionError((device, text))

    def context(self, url: str, **own: Any) -> Context:
        common = {"url": url.rstrip("/"), "timeout": self.timeout, "headers": {}, "verify_tls": True, "ca": None}
        options = common | {"time_zone": zone("Asia/Shanghai")} | vol.Schema(omstation.SCHEMA)(ACCOUNT | own)
        return Context(
            name=NAME,
            options=options,
            ids=Ids(self.claims),
            data_dir=self.folder,
            watermark=lambda _: None,
            keep=self.keep,
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

    async def read(self, device: str) -> Device:
        """The device as a `get` shows it."""
        self.take(await self.backend.read(self.devices[device]))
        return self.devices[device]

    def state(self, device: str) -> dict[str, Any]:
        return dict(self.devices[device].state)

    def ids(self, scope: str) -> set[str] | None:
        """The newest inventory of a scope."""
        return next((set(one.ids) for one in reversed(self.inventories) if one.scope == scope), None)

    def of(self, scope: str) -> list[Device]:
        return [device for device in self.devices.values() if device.scope.partition(":")[0] == scope]


def calls(simulator: Simulator, call: str) -> list[Call]:
    """The calls the simulator got at this endpoint, oldest first."""
    return [seen for seen in simulator.mischief.calls if seen.path == path(call)]


def logins(simulator: Simulator) -> int:
    """How often the simulator was asked to log in."""
    return len(calls(simulator, SIGN_IN))


def device_of(station: str, *lattice: str) -> str:
    """The device id of a station of the simulator, or of one of its lattices."""
    return "_".join((NAME, station.lower(), *(part for number in lattice for part in ("lattice", number.lower()))))


@asynccontextmanager
async def connected(url: str, shared: Shared, **own: Any) -> AsyncIterator[Run]:
    """The platform connected to `url`; `own` are its own options."""
    async with omstation.connect(shared.context(url, **own)) as backend:
        yield Run(backend)


@asynccontextmanager
async def simulated(
    *, devices: int = 2, shared: Shared | None = None, **own: Any
) -> AsyncIterator[tuple[Simulator, Run]]:
    """A simulator over HTTP, and the platform connected to it."""
    async with AsyncExitStack() as stack:
        if shared is None:
            shared = Shared(Path(stack.enter_context(await asyncio.to_thread(TemporaryDirectory))))
        app = create(devices=devices)
        server = await stack.enter_async_context(TestServer(app))
        run = await stack.enter_async_context(connected(str(server.make_url("")), shared, **own))
        yield app[SIMULATOR], run
