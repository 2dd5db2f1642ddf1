"""A running AC simulator, and calls as the document has them."""

from __future__ import annotations

import hashlib
import json
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestClient, TestServer

from fleet2mqtt.simulators.sangfor_ac.app import SIMULATOR, Simulator, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "fleet2mqtt-sim"
SAMPLE_IP, SAMPLE_MAC = "1.1.1.1", "11-11-11-11-11-11"
VERSION, THROUGHPUT, LIBRARIES = "status/version", "status/throughput", "status/insidelib"
USER, GROUP, GROUP_POLICIES = "user", "group", "group/netpolicy"
NET_POLICIES, FLUX_POLICIES = "policy/netpolicy", "policy/fluxpolicy"
USER_BINDINGS, IPMAC_BINDINGS, IPMAC_QUERY = "bindinfo/user-bindinfo", "bindinfo/ipmac-bindinfo", "ipmac-bindinfo"
ONLINE = "online-users"
BINDING = {
    "enable": True,
    "name": "a",
    "desc": "",
    "addr_type": "ip",
    "addr": "1.1.1.1",
    "limitlogon": True,
    "noauth": {"enable": False, "expire_time": 0},
}
SUCCESS = {"code": 0, "message": "Success"}
BAD_FORMAT = {"code": 1, "message": "请求的接口数据格式不正确!"}
NO_RANDOM = {"code": 1, "message": "The random string and MD5 value of permission check can't be empty!"}
NOT_PERMITTED = {"code": 1, "message": "Permission check failed!"}
BUSY = {"code": 1, "message": "系统繁忙,请稍后再试!"}
NOT_FOUND = {"code": 1, "message": "There is no data!"}
EXISTS = {"code": 1, "message": "The data exists already!"}
PROTECTED = {"code": 1, "message": "The operation isn't allowed!"}


def signed(random: str, key: str = KEY) -> dict[str, str]:
    """Return the two fields of the permission check."""
    return {"random": random, "md5": hashlib.md5(f"{key}{random}".encode()).hexdigest()}  # noqa: S324 - the vendor's


class Ac:
    """A running simulator and a client that signs."""

    def __init__(self, client: TestClient[Any, Any], simulator: Simulator) -> None:
        self.client = client
        self.simulator = simulator
        self._randoms = (f"test-{number}" for number in count())

    def sign(self) -> dict[str, str]:
        return signed(next(self._randoms))

    async def get(self, path: str, /, **query: str) -> Any:
        async with self.client.get(f"/v1/{path}", params=query | self.sign()) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            return await response.json()

    async def post(self, path: str, /, body: Any = None, method: str | None = None, **headers: str) -> Any:
        query = {} if method is None else {"_method": method}
        signed_body = (body or {}) | self.sign()
        async with self.client.post(f"/v1/{path}", params=query, json=signed_body, headers=headers) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            return await response.json()

    async def online(self, **body: Any) -> Any:
        return (await self.post(ONLINE, body, "GET"))["data"]

    async def status(self, path: str) -> int:
        """Return the HTTP status of a GET, redirects not followed."""
        async with self.client.get(f"/v1/{path}", params=self.sign(), allow_redirects=False) as response:
            return response.status

    async def control(self, path: str, body: Any) -> int:
        async with self.client.post(f"/_sim/{path}", json=body) as response:
            return response.status

    async def state(self) -> Any:
        async with self.client.get("/_sim/state") as response:
            return json.loads(await response.text())


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Ac]:
    app = create(**options)
    async with TestClient(TestServer(app)) as client:
        yield Ac(client, app[SIMULATOR])
