"""The asset call served by a running bridge, on the push port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from tests.broker import HOST
from tests.platforms.test_all_platforms import PUSH_SECRET, everything, world

if TYPE_CHECKING:
    from pathlib import Path

CALL = "QueryAdminAssetListByFAssetIDs"


async def test_running_bridge_serves_the_asset_call(tmp_path: Path) -> None:
    async with world(tmp_path, ["omstation"]) as here, here.bridge() as bridge:
        await everything(bridge, ["omstation"])
        simulator = here.simulators["omstation"]
        lock = next(lattice["deviceId"] for lattices in simulator.lattices.values() for lattice in lattices)
        base = f"http://{HOST}:{here.options['push']['port']}/assets/omstation"
        async with aiohttp.ClientSession() as session:
            request = {"assetIds": f"{lock},unknown"}
            async with session.post(f"{base}/{PUSH_SECRET}/{CALL}", json=request, headers={"token": "T"}) as response:
                assert response.status == 200
                answer = await response.json()
            assert (answer["code"], [item["deviceId"] for item in answer["data"]]) == (200, [lock])
            async with session.post(f"{base}/other-secret/{CALL}", json=request) as response:
                assert response.status == 404
