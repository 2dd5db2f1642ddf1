"""The connected template on a running simulator, in a context as the core provides it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestServer

from fleet2mqtt.platforms import _template
from fleet2mqtt.simulators._template import DEMO, SIMULATOR, Simulator, create
from tests.platforms.context import Run, Shared, options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAME = "relays"
FIRST, SECOND = "relays_r-1001", "relays_r-1002"


@asynccontextmanager
async def connected(url: str, shared: Shared | None = None, **own: Any) -> AsyncIterator[Run]:
    """Connect the platform to `url`; `own` are its own options, `selects` is the operator's selection."""
    selection = {"selects": own.pop("selects")} if "selects" in own else {}
    chosen = options(_template.SCHEMA, url, DEMO | own)
    context = replace((shared or Shared()).context(NAME, chosen), **selection)
    async with _template.connect(context) as backend:
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
