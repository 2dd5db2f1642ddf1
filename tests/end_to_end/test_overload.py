"""More commands than a vendor can execute: those never sent have that result, earlier ones are executed first."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import CHANNEL, GATEWAY, open_site
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.bridge_under_test import Site

SET, QUERY = "/api/v1/devices/set", "/api/v1/devices/query"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as running:
        yield running


async def test_command_queued_too_long_expires(site: Site) -> None:
    async with site.bridge(branch={"timeout": 60, "concurrency": 1}) as bridge:
        await bridge.settle()
        calls = site.gateways.fault_injector.calls
        calls.clear()
        site.gateways.fault_injector.inject("hang", QUERY)
        await bridge.broker.publish(f"fleet2mqtt/device/{GATEWAY}/get", {})
        await wait_until(lambda: calls, "the call that takes the only turn")
        soon = {"expires_at": (datetime.now(UTC) + timedelta(seconds=2)).isoformat()}
        await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/get", {"transaction": "read"} | soon)
        read, written, answer = await asyncio.gather(
            bridge.result(CHANNEL, "read"),
            bridge.set(CHANNEL, {"enable": "ON"} | soon),
            bridge.ask("mapping_list", "backend/branch", **soon),
        )
        assert [each["status"] for each in (read, written)] == ["expired", "expired"]
        assert [each["error"]["code"] for each in (read, written, answer)] == ["expired"] * 3
        assert [call.path for call in calls] == [QUERY]
