"""The platform as connect() gives it, on a running simulator, with what the core would lend it."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestServer

from fleet2mqtt.platforms import omstation
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.simulators.omstation.app import SIMULATOR, Simulator, create
from tests.platforms.context import Run, lent, options
from tests.platforms.omstation.simulated import SIGN_IN, path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.simulators.fault_injection import Call

NAME = "cabinets"
ACCOUNT = {"username": "admin", "password": "123456"}


@dataclass(slots=True)
class Shared:
    """What outlives a run: the data directory and id claims, as the core has them on disk."""

    folder: Path
    assignments: dict[str, str] = field(default_factory=dict)
    timeout: float = 5.0

    @property
    def file(self) -> Path:
        return self.folder / f"{NAME}.token.json"

    def kept(self) -> dict[str, Any]:
        """What the token file holds."""
        found: dict[str, Any] = json.loads(self.file.read_bytes())
        return found

    def context(self, url: str, **own: Any) -> Context:
        chosen = options(omstation.SCHEMA, url, ACCOUNT | own, timeout=self.timeout)
        return lent(NAME, chosen, self.assignments, self.folder)


def calls(simulator: Simulator, call: str) -> list[Call]:
    """The calls the simulator got at this endpoint, oldest first."""
    return [seen for seen in simulator.fault_injector.calls if seen.path == path(call)]


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
