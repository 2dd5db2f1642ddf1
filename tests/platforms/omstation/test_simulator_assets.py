"""The simulated asset call against its public page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.platforms.omstation.simulated import Omstation

PATH = "/QueryAdminAssetListByFAssetIDs"
FIELDS = (
    *("deviceId", "deviceType", "battery", "onlineStatus", "gpsSignal", "gsmSignal"),
    *("lat", "lon", "gpsTime", "networkType"),
)


async def call(omstation: Omstation, body: Any, token: str | None = None) -> Any:
    headers = {"token": omstation.simulator.asset_token if token is None else token}
    async with omstation.client.post(PATH, json=body, headers=headers) as response:
        assert response.status == 200
        return await response.json()


async def test_simulator_asset_has_the_pages_fields(omstation: Omstation) -> None:
    first, second, *_ = omstation.simulator.devices
    response = await call(omstation, {"assetIds": f"{first},{second},unknown"})
    assert (response["code"], response["message"]) == (200, "Operation succeeded")
    assert [list(item) for item in response["data"]] == [list(FIELDS)] * 2
    assert [item["deviceId"] for item in response["data"]] == [first, second]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", response["data"][0]["gpsTime"])
    await omstation.control("asset", {"deviceId": first, "battery": -1})
    assert (await call(omstation, {"assetIds": first}))["data"][0]["battery"] == -1


@pytest.mark.parametrize(
    "body", [{}, [], {"assetIds": ["1"]}, {"assetIds": ""}, {"assetIds": "1, 2"}, {"assetIds": "1", "x": 1}]
)
async def test_simulator_refuses_invalid_asset_calls(omstation: Omstation, body: Any) -> None:
    assert (await call(omstation, body))["code"] == 102


async def test_simulator_asset_call_needs_its_token_and_json(omstation: Omstation) -> None:
    assert (await call(omstation, {"assetIds": "1"}, token="other"))["code"] == 104
    async with omstation.client.post(PATH, data=b"assetIds=1") as response:
        assert response.status == 415
    async with omstation.client.post("/_sim/asset", json={"deviceId": "1", "colour": "red"}) as response:
        assert response.status == 400
