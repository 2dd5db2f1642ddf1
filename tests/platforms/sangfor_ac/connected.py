"""The platform as connect() returns it, on a running simulator, with the context of the core."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.devices.selection import Detail, Selection, SelectionFilter
from fleet2mqtt.platforms import sangfor_ac
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.simulators.sangfor_ac.app import SIMULATOR, Simulator, create
from tests.platforms.context import Run, lent, options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

    from fleet2mqtt.simulators.fault_injection import Call

NAME = "ac"
KEY = "fleet2mqtt-sim"
WATCH = {"groups": ["/hello"], "users": ["a"], "bindings": ["a", "1.1.1.2"]}
GROUP, USER = f"{NAME}_group_hello_13a7bc88", f"{NAME}_user_a"
BOUND, PAIR = f"{NAME}_binding_a", f"{NAME}_binding_1_1_1_2_721bab5e"
HELLO = f"{NAME}_net_policy_hello"
BINDING: dict[str, Any] = {"enable": True, "name": "a", "addr_type": "ip", "addr": "1.1.1.9", "limitlogon": True}
SUCCESS = {"code": 0, "message": "Success"}
SOURCES = ("status", "online_users", "policies", "groups", "libraries", "bindings", "users")


def context(url: str, assignments: dict[str, str] | None = None, **own: Any) -> Context:
    """Return the argument of connect().

    `allow` is one of the backend's common options, `selection` stands for those of selection: by default every entity
    is enabled, so that every call is made.
    """
    extra = {"allow": own.pop("allow")} if "allow" in own else {}
    primary_fails = own.pop("primary_fails", lambda: False)
    selection = own.pop("selection", Selection(entities=Detail.FULL))
    checkpoints = own.pop("checkpoints", {})
    chosen = options(sangfor_ac.SCHEMA, url, {"key": KEY, "spacing": 0} | own) | extra
    lent_context = lent(NAME, chosen, {} if assignments is None else assignments, Path())

    async def save_checkpoint(device: str, text: str) -> None:
        checkpoints[device] = text

    return replace(
        lent_context,
        primary_fails=primary_fails,
        selects=SelectionFilter(lambda _: selection).selects,
        excludes_kind=selection.excludes_kind,
        is_enabled=selection.is_enabled,
        checkpoint=checkpoints.get,
        save_checkpoint=save_checkpoint,
    )


def calls(simulator: Simulator, path: str) -> list[Call]:
    """Return the calls that the simulator received at this path, oldest first."""
    return [call for call in simulator.fault_injector.calls if call.path == f"/v1/{path}"]


def body_of(simulator: Simulator, path: str) -> dict[str, Any]:
    """Return the body last sent to this path, without the signature."""
    body = calls(simulator, path)[-1].body
    return {key: value for key, value in body.items() if key not in {"random", "md5"}}


@asynccontextmanager
async def connected(url: str, assignments: dict[str, str] | None = None, **own: Any) -> AsyncIterator[Run]:
    """Connect the platform to `url`; `own` are its own options."""
    async with sangfor_ac.connect(context(url, assignments, **own)) as backend:
        yield Run(backend)


@dataclass(slots=True)
class Refusals:
    """HTTP statuses by what a request is for: the path of a group, the name of a user, a search, or a terminal.

    A search for several users is named by all of them: `a,b`.
    """

    statuses: dict[str, int] = field(default_factory=dict)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = json.loads(await request.read() or b"{}")
        names = [*map(request.query.get, ("path", "name", "search")), ",".join(body.get("filter", {}).get("value", ()))]
        names.append(body.get("terminal"))
        status = next((self.statuses[name] for name in names if name in self.statuses), None)
        return await handler(request) if status is None else web.Response(status=status)


@asynccontextmanager
async def simulated(
    *, devices: int = 2, assignments: dict[str, str] | None = None, refusals: Refusals | None = None, **own: Any
) -> AsyncIterator[tuple[Simulator, Run]]:
    """Run a simulator over HTTP, and the platform connected to it."""
    async with AsyncExitStack() as stack:
        app = create(devices=devices)
        if refusals is not None:
            app.middlewares.append(refusals.middleware)
        server = await stack.enter_async_context(TestServer(app))
        run = await stack.enter_async_context(connected(str(server.make_url("")), assignments, **own))
        yield app[SIMULATOR], run
