"""A running UMS simulator, and a receiver of its pushes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from fleet2mqtt.simulators.ums.app import SIMULATOR, Simulator, create

OM50, MX100G = "000EA93D022E", "000EA9610BCC"
PAGE = "limit=10&offset=0"


class Ums:
    """A running simulator and what a client reads from it."""

    def __init__(self, client: TestClient[web.Request, web.Application], simulator: Simulator) -> None:
        self.client = client
        self.simulator = simulator

    async def get(self, path: str) -> Any:
        async with self.client.get(path) as response:
            assert response.status == 200
            return await response.json()

    async def post(self, path: str, body: Any) -> Any:
        async with self.client.post(path, json=body) as response:
            assert response.status == 200
            return await response.json()

    async def raw(self, path: str) -> bytes:
        async with self.client.get(path) as response:
            return await response.read()


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Ums]:
    app = create(**options)
    async with TestClient(TestServer(app)) as client:
        yield Ums(client, app[SIMULATOR])


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[str, list[tuple[str, bytes]]]]:
    """The platform's side of chapter 2: its URL, and the path and body of what was pushed to it."""
    got: list[tuple[str, bytes]] = []

    async def receive(request: web.Request) -> web.Response:
        got.append((request.path, await request.read()))
        return web.json_response({"code": 0, "status": "成功"})

    app = web.Application()
    app.router.add_post("/secret/{kind}", receive)
    async with TestServer(app) as server:
        yield str(server.make_url("/secret")), got
