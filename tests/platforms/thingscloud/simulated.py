"""A running ThingsCloud simulator, and the project's side of its pushes."""

from __future__ import annotations

import json
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from fleet2mqtt.simulators.thingscloud import SIMULATOR, Simulator, Token, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST, SECOND = "k3v8q2mzpw", "t7c1n5xrdb"
API = "/api/v1/"
TOKEN = "a-token-that-nobody-logged-in-for"


class Cloud:
    """A running simulator and what a client gets from it; paths are those behind `/api/v1/`."""

    def __init__(self, client: TestClient[web.Request, web.Application], simulator: Simulator) -> None:
        self.client = client
        self.simulator = simulator
        self.token = TOKEN

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """The status and the parsed answer."""
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        async with self.client.request(method, API + path, headers=headers, **options) as response:
            assert response.content_type == "application/json"
            return response.status, json.loads(await response.read())

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The info of a call that succeeds."""
        options |= {} if body is None else {"json": body}
        status, answer = await self.call(method, path, **options)
        assert (status, answer.get("result")) == (200, True), answer
        assert set(answer) == {"result", "info"}
        return answer["info"]

    async def refused(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Make a call that is refused; return its error code."""
        options |= {} if body is None else {"json": body}
        status, answer = await self.call(method, path, **options)
        assert (status, answer.get("result")) == (200, False), answer
        assert set(answer) == {"result", "errcode", "message", "errors"}
        return answer["errcode"]

    async def get(self, path: str, **query: Any) -> Any:
        return await self.request("GET", path, params=query)

    async def post(self, path: str, body: Any) -> Any:
        return await self.request("POST", path, body)

    async def put(self, path: str, body: Any) -> Any:
        return await self.request("PUT", path, body)

    async def delete(self, path: str) -> Any:
        return await self.request("DELETE", path)

    async def control(self, path: str, body: Any = None) -> Any:
        """A control path: POST with a body, GET without."""
        method = "GET" if body is None else "POST"
        async with self.client.request(method, f"/_sim/{path}", json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def attribute(self, identifier: str, device: str = FIRST) -> Any:
        rows = await self.get(f"device/{device}/attributes")
        return next(row for row in rows if row["identifier"] == identifier)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Cloud]:
    app = create(**options)
    async with TestClient(TestServer(app)) as client:
        simulator = app[SIMULATOR]
        simulator.tokens[TOKEN] = Token(None, math.inf)
        yield Cloud(client, simulator)


@asynccontextmanager
async def push_receiver() -> AsyncIterator[tuple[str, list[tuple[str, Any]]]]:
    """Receive pushes; yield the URL, and the path and parsed body of each push so far."""
    received: list[tuple[str, Any]] = []

    async def receive(request: web.Request) -> web.Response:
        text = await request.text()
        received.append((request.path, json.loads(text) if text.startswith(("{", "[")) else text))
        return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_post("/secret/{kind}", receive)
    async with TestServer(app) as server:
        yield str(server.make_url("/secret")), received
