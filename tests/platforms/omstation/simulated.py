"""A running omstation simulator, and the calls of its pages that tests use."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestClient, TestServer

from fleet2mqtt.simulators.omstation import SIMULATOR, Simulator, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ORG = "520FF63E384345F4935BF6A1B9095A7B"
LOGIN = {"userName": "admin", "password": "e10adc3949ba59abbe56e057f20f883e"}
DAY = {"startTime": "2024-02-28", "endTime": "2024-02-29"}
EVER = {"startTime": "2000-01-01", "endTime": "2099-12-31"}
PAGE = {"orgId": ORG, **EVER, "status": -2, "key": "", "pageNum": "1", "pageSize": 20}
SIGN_IN = "login/userLogin"
STATIONS, LATTICES = "station/queryStationInfoListByOrgId", "station/queryStationLatticeDetail"
ADD_STATION, UPDATE_STATION = "station/addStationInfo", "station/updateStationInfo"
ADD_DEVICES = "device/addDeviceInfo"
COLLECTIONS, TRANSFERS = "auth/queryAuthCollectionList", "auth/queryAuthTransferList"
UPDATE_COLLECTION, UPDATE_TRANSFER = "auth/updateAuthCollection", "auth/updateAuthTransfer"
PERSON = {"toUser": "Li Wei", "phoneNum": "139", "email": "li@example.com", "descInfo": "gate 3"}
COLLECTION = {"id": "", "type": 0, "startTime": None, "endTime": None, "orgId": ORG, **PERSON}
COLLECTION |= {"deviceTypes": '{"701": "JT701", "705": "JT705C"}'}
TRANSFER = {"id": "", "authInfo": '[{"deviceType":701,"count":9}]', "orgId": ORG, **PERSON}
"""Bodies as the pages' samples have them: an empty id creates."""
DONE = {"code": 200, "message": "Operation succeeded", "data": None}


def path(call: str) -> str:
    return f"/omstation/{call}"


def station(**changes: Any) -> dict[str, Any]:
    """Return a body of addStationInfo."""
    slots = [{"typeId": 701, "stationType": "B", "index": 1}, {"typeId": 709, "stationType": "B", "index": 2}]
    body = {"id": "SG240304009", "stationName": "Yard", "deviceId": "8099", "totalCount": "3", "orgId": ORG}
    return body | {"latticeAssetList": slots} | changes


class Omstation:
    """A running simulator, and a client that has logged in."""

    def __init__(self, client: TestClient[Any, Any], simulator: Simulator) -> None:
        self.client = client
        self.simulator = simulator
        self.headers: dict[str, str] = {}

    async def log_in(self, **changes: Any) -> Any:
        """Log in and return the response; its token is sent from here on."""
        answer = await self.call(SIGN_IN, LOGIN | changes)
        if answer["code"] == 200:
            self.headers["token"] = answer["data"]["tokenId"]
        return answer

    async def call(self, call: str, body: Any, **headers: str) -> Any:
        """Return the whole response."""
        async with self.client.post(path(call), json=body, headers=self.headers | headers) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            answer = await response.json()
        assert list(answer) == ["code", "message", "data"]
        return answer

    async def data(self, call: str, body: Any) -> Any:
        """Return the data of a response that has to be a success."""
        answer = await self.call(call, body)
        assert answer["code"] == 200, answer
        return answer["data"]

    async def status(self, call: str, body: Any, **options: Any) -> int:
        async with self.client.post(path(call), json=body, headers=self.headers, **options) as response:
            return response.status

    async def stations(self) -> list[Any]:
        return list((await self.data(STATIONS, {"orgId": ORG}))["stationInfoList"])

    async def lattices(self, station_id: str | None = None) -> Any:
        """Return the lattices of a station, by default the first, by their numbers."""
        station_id = station_id or self.first
        items = (await self.data(LATTICES, DAY | {"id": station_id}))["stationLatticeInfoList"]
        return {item["latticeNo"]: item for item in items}

    async def control(self, name: str, body: Any) -> Any:
        async with self.client.post(f"/_sim/{name}", json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    @property
    def first(self) -> str:
        return next(iter(self.simulator.stations))


@asynccontextmanager
async def running(*, logged_in: bool = True, **options: Any) -> AsyncIterator[Omstation]:
    app = create(**options)
    async with TestClient(TestServer(app)) as client:
        omstation = Omstation(client, app[SIMULATOR])
        if logged_in:
            await omstation.log_in()
        yield omstation
