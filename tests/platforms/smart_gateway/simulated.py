"""A running IG200 simulator, and the paths and samples of its document that tests use."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestClient, TestServer

from fleet2mqtt.simulators.smart_gateway import SIMULATOR, Simulator, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST, SECOND = "172DE6AC9832DE", "ABCD21DCF318BA"
UDP, TCP, FREE = "ebfa83fe9b9aa6a83fe", "3c1d90a7be5f42e8d61", "7fa20c64d9b83e15a07"
LIST, QUERY, SET = "/api/v1/devices/list", "/api/v1/devices/query", "/api/v1/devices/set"
REGIST, DELETE = "/api/v1/devices/regist", "/api/v1/devices/delete"
RULES, ADD, EDIT, DELETE_RULES = (f"/api/v1/mapping/{name}" for name in ("list", "add", "edit", "delete"))
ASSIGN, UNASSIGN, REASSIGN = (f"/api/v1/device/{name}Mapping" for name in ("add", "delete", "edit"))
PAGE = {"page": 1, "limit": 10, "filtration": 0, "condition": "", "sort_by": 0, "ascend": 0}
BASE = (
    *("sn", "alias", "state", "type", "version", "runtime", "remark"),
    *("rateup", "ratedown", "qos", "mapping", "record", "gps"),
)
EVERYTHING = {"base": list(BASE), "network": ["lan", "hotspot"], "channel": [], "parameters": ["top", "lock"]}
NEW_RULE = {"name": "Video", "ip": "192.168.16.57", "port": "5000,6000-6010", "protocol": 2, "mark": ""}


class VendorSystem:
    """A running simulator, and the calls of a client."""

    def __init__(self, client: TestClient[Any, Any], simulator: Simulator) -> None:
        self.client = client
        self.simulator = simulator

    async def post(self, path: str, body: Any) -> Any:
        return json.loads(await self.text(path, json=body))

    async def text(self, path: str, **options: Any) -> str:
        async with self.client.post(path, **options) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            return await response.text()

    async def get(self, path: str) -> Any:
        async with self.client.get(path) as response:
            assert response.status == 200
            return await response.json()

    async def page(self, **changes: Any) -> Any:
        return await self.post(LIST, PAGE | {"args": EVERYTHING} | changes)

    async def listed(self, **changes: Any) -> list[str]:
        response = await self.page(**changes)
        return [row["base"]["sn"] for row in response["devices"]]

    async def query(self, sn: str = FIRST) -> Any:
        response = await self.post(QUERY, {"sns": [sn], "args": {}})
        return response["devices"][sn]

    async def write(self, **sections: Any) -> int:
        response = await self.post(SET, {FIRST: sections})
        assert set(response) == {"code", "msg"}
        return int(response["code"])


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[VendorSystem]:
    app = create(**options)
    async with TestClient(TestServer(app)) as client:
        yield VendorSystem(client, app[SIMULATOR])
