"""The connected platform on a running simulator, in a context as the core provides it."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestServer

from fleet2mqtt.platforms import smart_gateway
from fleet2mqtt.simulators.smart_gateway import SIMULATOR, Simulator, create
from tests.platforms.context import Run, Shared, options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.simulators.fault_injection import Call

NAME = "branch"
SN, OTHER = "172DE6AC9832DE", "ABCD21DCF318BA"
GATEWAY, SECOND = "branch_172de6ac9832de", "branch_abcd21dcf318ba"
SIM, USB, WAN = f"{GATEWAY}_channel_0", f"{GATEWAY}_channel_4", f"{GATEWAY}_channel_8"
SET = "/api/v1/devices/set"


def calls(simulator: Simulator, path: str) -> list[Call]:
    """Return the calls that the simulator received at this path, oldest first."""
    return [call for call in simulator.fault_injector.calls if call.path == path]


@asynccontextmanager
async def connected(url: str, shared: Shared | None = None, **own: Any) -> AsyncIterator[Run]:
    """Connect the platform to `url`; `own` are its own options, and those of the context that stand for a selection."""
    names = ("selects", "is_enabled", "publishes", "excludes_kind")
    selection = {name: own.pop(name) for name in names if name in own}
    chosen = options(smart_gateway.SCHEMA, url, own)
    context = replace((shared or Shared()).context(NAME, chosen), **selection)
    with tempfile.TemporaryDirectory() as folder:
        if context.data_dir == Path():
            context = replace(context, data_dir=Path(folder))
        async with smart_gateway.connect(context) as backend:
            yield Run(backend)


@asynccontextmanager
async def simulated(
    *, devices: int = 2, shared: Shared | None = None, **own: Any
) -> AsyncIterator[tuple[Simulator, Run]]:
    """Start a simulator over HTTP and connect the platform to it."""
    async with AsyncExitStack() as stack:
        app = create(devices=devices)
        server = await stack.enter_async_context(TestServer(app))
        run = await stack.enter_async_context(connected(str(server.make_url("")), shared, **own))
        yield app[SIMULATOR], run
