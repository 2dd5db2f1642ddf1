"""The platform as connect() returns it, on a running simulator, with what the core would pass to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestServer

from fleet2mqtt.platforms import omstation
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.simulators.omstation import SIMULATOR, Simulator, create
from tests.platforms.context import Run, lent, options
from tests.platforms.omstation.simulated import SIGN_IN, path
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fleet2mqtt.devices.model import Device
    from fleet2mqtt.simulators.fault_injection import Call

NAME = "cabinets"
ACCOUNT = {"username": "admin", "password": "123456"}


@dataclass(slots=True)
class Shared:
    """The data directory and the id assignments, which survive a restart."""

    folder: Path
    assignments: dict[str, str] = field(default_factory=dict)
    timeout: float = PATIENCE
    primary_fails: bool = False
    selects: Callable[[Device], bool] = lambda _: True

    @property
    def file(self) -> Path:
        return self.folder / f"{NAME}.token.json"

    def saved(self) -> dict[str, Any]:
        """Return the content of the token file."""
        content: dict[str, Any] = json.loads(self.file.read_bytes())
        return content

    def context(self, url: str, **own: Any) -> Context:
        chosen = options(omstation.SCHEMA, url, ACCOUNT | own, timeout=self.timeout)
        context = lent(NAME, chosen, self.assignments, self.folder)
        return replace(context, primary_fails=lambda: self.primary_fails, selects=self.selects)


def url_of(run: Run) -> str:
    """Return the URL of the simulator that a run is connected to."""
    url: str = run.backend.client.client.session.api.base
    return url


def calls(simulator: Simulator, call: str) -> list[Call]:
    """Return the recorded calls of an endpoint, oldest first."""
    return [seen for seen in simulator.fault_injector.calls if seen.path == path(call)]


def logins(simulator: Simulator) -> int:
    """Return the number of logins that the simulator received."""
    return len(calls(simulator, SIGN_IN))


def device_of(station: str, *lattice: str) -> str:
    """Return the device id of a station, or of one of its compartments."""
    return "_".join((NAME, station.lower(), *(part for number in lattice for part in ("lattice", number.lower()))))


@asynccontextmanager
async def connected(url: str, shared: Shared, **own: Any) -> AsyncIterator[Run]:
    """The platform connected to `url`; `own` are its own options."""
    async with omstation.connect(shared.context(url, **own)) as backend:
        yield Run(backend)


@asynccontextmanager
async def simulated(
    *, devices: int = 2, shared: Shared | None = None, assets: bool | dict[str, Any] = False, **own: Any
) -> AsyncIterator[tuple[Simulator, Run]]:
    """Serve a simulator over HTTP and connect the platform to it.

    `assets` are the options of that name; True makes the simulator the asset system, too.
    """
    async with AsyncExitStack() as stack:
        if shared is None:
            shared = Shared(Path(stack.enter_context(await asyncio.to_thread(TemporaryDirectory))))
        app = create(devices=devices)
        server = await stack.enter_async_context(TestServer(app))
        url = str(server.make_url(""))
        if assets is True:
            assets = {"url": url.rstrip("/"), "token": app[SIMULATOR].asset_token}
        own |= {"assets": assets} if assets else {}
        run = await stack.enter_async_context(connected(url, shared, **own))
        yield app[SIMULATOR], run
